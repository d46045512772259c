from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from couplet.images.decoding.picture import CHEST
from couplet.inference.load import _image_way
from couplet.project.project import Project


@pytest.mark.parametrize(
    ("about", "expected"),
    [
        ({"source": "nih"}, CHEST),
        ({"source": "csv"}, None),
        ({"source": "combined", "members": {"a": "nih", "b": "chexpert"}}, CHEST),
        ({"source": "combined", "members": {"a": "nih", "hands": "csv"}}, None),
    ],
)
def test_a_model_of_chest_films_alone_is_given_no_others(
    tmp_path: Path, about: dict[str, Any], expected: tuple[str, ...] | None
) -> None:
    project = Project(tmp_path)
    project.prepared.mkdir(parents=True)
    project.labels.write_text(
        json.dumps(about | {"image": {"store_size": 36, "channels": 1, "codec": "raw"}})
    )
    project.manifest.write_text("image_id,view\na,PA\n")
    md5 = hashlib.md5(project.labels.read_bytes(), usedforsecurity=False).hexdigest()
    record: Any = SimpleNamespace(fold=0, data={"data/prepared/labels.json": md5}, params={"image": {}})
    assert _image_way(project, record).body_parts == expected
