from __future__ import annotations

from pathlib import Path

from couplet.project.project import Project
from couplet.results.weights import list_weights, read_weights_list


def test_the_list_has_the_weights_in_use_and_no_others(tmp_path: Path) -> None:
    """A backbone that was tried in between must not make the runs of another one stale."""
    (tmp_path / "data").mkdir()
    project = Project(tmp_path)
    list_weights({"resnet10t.c3_in1k": "a" * 64}, project)
    before = project.weights_list.read_bytes()
    list_weights({"resnet14t.c3_in1k": "b" * 64}, project)
    assert read_weights_list(project) == {"resnet14t.c3_in1k": "b" * 64}
    list_weights({"resnet10t.c3_in1k": "a" * 64}, project)
    assert project.weights_list.read_bytes() == before
    list_weights({}, project)
    assert project.weights_list.read_text() == "{}\n"
