from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import training_epoch
from benchmarks.harness import Section


@pytest.fixture(scope="module")
def section() -> Section:
    return training_epoch.run("tiny")


def test_all_do_the_same_number_of_steps_and_learn(section: Section) -> None:
    (table,) = section.tables
    assert [row[0] for row in table.rows] == ["plain loop, 1 worker", "plain loop, 2 workers", "couplet"]
    for row in table.rows:
        _, steps, seconds, per_second, _, _, _, loss = row
        assert steps == 50 // 24
        assert seconds * per_second == pytest.approx(2 * 24)
        # At p = 1/2 a quarter positives cost 14 (0.25 * 0.6931 + 0.75 * 0.0245) = 2.68.
        assert loss == pytest.approx(2.68, rel=0.5)


def test_nothing_is_trained_on_official_test_images(section: Section, shared_data: Path) -> None:
    assert section.claims[0].holds
    files = training_epoch.trainable_xrays()
    listed = (shared_data / "nih_cxr14_labels" / "test_list.txt").read_text().split()
    assert len(files) == 734
    assert not {f"{file.stem}.png" for file in files} & set(listed)


def test_labels_of_real_xrays(shared_data: Path) -> None:
    images = shared_data / "nih_cxr14" / "images"
    labels = training_epoch.real_labels([images / "00000003_001.jpg", images / "00000001_000.jpg"])
    # As NIH has them: a hernia, which is no label here, and cardiomegaly, the second label.
    np.testing.assert_array_equal(labels, [[0] * 14, [0, 1] + [0] * 12])
    assert labels.dtype == np.float32
