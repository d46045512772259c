"""Published numbers and runs of the same systems here: found by name, never mixed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from couplet.project.project import Project
from couplet.reporting import page
from couplet.reporting.gallery import Gallery
from couplet.reporting.sections import compare
from couplet.results.measured import data_key, write_measured
from couplet.results.run import Run, read_run
from tests.support.measured import row
from tests.support.pages import text_of


@pytest.fixture
def shown(project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """The section of a made-up run on drawn pictures, with rows that were measured: `shown(rows)`, as HTML."""
    monkeypatch.setattr(page, "SECTIONS", (compare,))
    folder = project()

    def html(make_rows: Callable[[Run], list[object]]) -> str:
        run = read_run()
        write_measured(make_rows(run), Project(folder))  # type: ignore[arg-type]
        return page.render(run, cast(Gallery, SimpleNamespace()), None)

    return html


def row_of(html: str, name: str) -> str:
    text = text_of("<tr" + next(part for part in html.split("<tr") if f'scope="row">{name}' in part))
    return text.replace(" ,", ",").replace(" ;", ";")


def test_a_row_stands_beside_its_system_with_what_it_is_of(shown: Callable[..., str]) -> None:
    def rows(run: Run) -> list[object]:
        here = data_key(run.manifest, run.fold_of)
        return [
            row(system="kufel", source="nih", data="fedcba98", part="test", own_test=True, images=118),
            row(system="kufel", data=here, head="linear", levels=6, levels_kind="cascade"),
            row(system="kufel", data=here, part="test", images=40, patients=20, head="linear", levels=6),
            row(),
        ]

    html = shown(rows)
    kufel = row_of(html, "Kufel")
    assert kufel.startswith("Kufel et al. 2023") and "EfficientNet-B1 dense, BatchNorm BCE 0.8428" in kufel
    score = "0.8000 [0.750, 0.850]"
    assert f"{score} (selected) out of fold; {score} test part phantom, 100 images of" in kufel, kufel
    first = kufel.index("phantom, 100 images of")
    assert "50 patients and 40 images of 20 patients, as this run;" in kufel[first:]
    assert "not beside the published: drawn pictures" in kufel[first:]
    assert "at 64 px, head linear, 6 levels (cascade), epochs: 3" in kufel[first:]
    other = kufel.index("nih, 118 images")
    assert "at 64 px, head csra, epochs: 3" in kufel[other:]
    assert other > first, "this run's own images come first"
    assert "as this run" not in kufel[other:]
    assert (
        "not beside the published: other images: the published number is of a split of its own"
        in kufel[other:]
    )
    assert "50.0 [45, 55] (selected) out of fold" in row_of(html, "CSRA, 4 heads")
    assert "not run here" in row_of(html, "Xiong") and "0.8523" in row_of(html, "Xiong")


def test_this_runs_own_row_says_that_it_is_a_chain(
    project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "SECTIONS", (compare,))
    project(changes={"model.levels.kind": "cascade", "model.levels.count": 4})
    html = page.render(read_run(), cast(Gallery, SimpleNamespace()), None)
    assert "linear, 4 levels (cascade) + label-graph refiner" in row_of(html, "This run")


def test_a_preset_that_appears_is_named_and_what_cannot_be_is_not(
    shown: Callable[..., str], tmp_path: Path
) -> None:
    linked = tmp_path / "presets"  # the checkout's own: a copy may be changed
    presets = shutil.copytree(
        linked.resolve(), tmp_path / "copy", ignore=shutil.ignore_patterns("kufel.yaml")
    )
    linked.unlink()
    presets.rename(linked)
    assert "<code>kufel</code>" not in shown(lambda run: [])
    (tmp_path / "presets/kufel.yaml").write_text("data:\n  source: nih\n")
    html = shown(lambda run: [])
    assert html.count("<code>kufel</code>") == 1
    evidence = row_of(html, "Multi-Evidence")
    assert "cannot be: its segmentation branch" in evidence and "nearest: csra_coco" in evidence
    assert "80.4" not in evidence and "mAP 80.3, CP 80.5" in evidence, "a number from memory is not shown"
    assert "cannot be: no title" in row_of(html, "ML-GLLR")


def test_labels_stand_under_their_system(shown: Callable[..., str]) -> None:
    html = shown(lambda run: [])
    table = html[html.index("Published numbers per label") : html.index("What each row rests on")]
    hernia = text_of("<tr" + next(part for part in table.split("<tr") if ">Hernia<" in part))
    assert hernia.split() == ["Hernia", *(["0.802", "0.914", "0.903", "0.889", "0.921", "0.855"])]


def test_numbers_of_other_sets_stand_by_themselves(shown: Callable[..., str]) -> None:
    html = shown(
        lambda run: [
            row(system="dokumaci", source="rsna_pneumonia", part="test", images=2_668, patients=2_668),
            row(system="kufel"),
        ]
    )
    folded = html[html.index("<summary>Other sets of chest X-rays") :]
    assert "<h3>Other sets" not in html, "this run is of drawn pictures"
    dokumaci = row_of(folded, "odokumaci")
    assert dokumaci.startswith(
        "odokumaci/pneumonia-rsna dokumaci DenseNet-121 at 128 px two hidden layers over the flattened map BCE 0.881 "
        "rsna_pneumonia, random split, not said to be by patient; its README 0.826 without augmentation"
    ), dokumaci
    assert "0.8000 [0.750, 0.850] test part rsna_pneumonia, 2,668 images of 2,668 patients;" in dokumaci
    assert "not beside the published: other images: the published number is of a random split" in dokumaci
    assert "0.940 B0 at 512 px ranzcr_clip, hidden test labels; its README" in row_of(folded, "asnorkin")
    xrv = row_of(folded, "TorchXRayVision, DenseNet-121")
    assert (
        "0.852 mean of 15 labels padchest, split of its own, by patient; TorchXRayVision’s BENCHMARKS.md"
        in xrv
    )
    assert (
        "0.8562 mean of 8 labels; this set was not trained on vindr_cxr, random split" in xrv
        and "not run here" in xrv
    )
    text = text_of(folded[folded.index("Published numbers per label, and what") :])
    assert "padchest: Atelectasis 0.77, Cardiomegaly 0.93" in " ".join(text.replace("\xa0", " ").split())


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("rsna_pneumonia", "Some scores under “Other sets of chest X-rays” are of this run’s data set"),
        ("combined", "This run is on several data sets at once"),
        ("brax", "of other sets that are named beside them, or of COCO: not comparable"),
    ],
)
def test_a_run_on_such_a_set_has_their_table_open(
    source: str, sentence: str, project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "SECTIONS", (compare,))
    project(changes={"data.source": source})
    html = page.render(read_run(), cast(Gallery, SimpleNamespace()), None)
    assert sentence in text_of(html)
    assert ("<h3>Other sets of chest X-rays" in html) == (source != "brax")
    assert html.count('scope="row">odokumaci') == 1


def test_without_measured_rows_the_page_is_as_with_an_empty_file(
    shown: Callable[..., str], tmp_path: Path
) -> None:
    empty = shown(lambda run: [])
    (tmp_path / "metrics/systems.csv").unlink()
    run = read_run()
    assert page.render(run, cast(Gallery, SimpleNamespace()), None) == empty
