from __future__ import annotations

import subprocess
import sys

import pytest
from pandas import DataFrame

from couplet.datasets.base import META, Dataset
from couplet.datasets.registry import ADAPTERS, read_dataset
from couplet.settings.schema.plugins import SOURCES
from tests.support.errors import refused


def test_every_source_of_the_schema_has_an_adapter():
    assert list(ADAPTERS) == SOURCES.names()


def test_unknown_source_and_unknown_settings_are_named(raw):
    assert "unknown data.source 'nhi': did you mean 'nih'?" in refused(read_dataset, "nhi", raw)
    assert refused(read_dataset, "nih", raw, {"no_findings": True}) == (
        "unknown key data.source_args.no_findings for data.source: nih: did you mean 'no_finding'? "
        "(allowed: no_finding)"
    )
    assert refused(read_dataset, "chexpert", raw, {"x": 1}) == (
        "unknown key data.source_args.x for data.source: chexpert: allowed: test_table"
    )
    assert refused(read_dataset, "nih", raw, {"no_finding": "yes"}) == (
        "data.source_args.no_finding = 'yes' is not allowed: it should be true or false"
    )
    assert refused(read_dataset, "grand_xray_slam", raw, {"division": "C"}) == (
        "data.source_args.division = 'C' is not allowed: it should be 'auto', 'A' or 'B'"
    )


def test_missing_raw_folder(raw):
    assert "link the data with `ln -s" in refused(read_dataset, "coco", raw / "coco")


def test_patients_in_both_parts_are_counted_and_said(put, raw, capsys):
    put(
        "labels.csv",
        "image,patient,part,A\na.jpg,1,train,1\nb.jpg,1,test,0\nc.jpg,2,test,0\nd.jpg,3,train,0\n",
    )
    for name in "abcd":
        put(f"{name}.jpg")
    dataset = read_dataset("csv", raw)
    assert dataset.notes == {"patients_in_train_and_test": 1}
    assert "warning: 1 patient(s) with images in train and in test" in capsys.readouterr().out


def images(part: str = "train", labels: tuple[str, ...] = ("A",)) -> DataFrame:
    return DataFrame(
        [["i", part, "p", "", "", "", "", "i.jpg", 2, *(1.0 for _ in labels)]], columns=[*META, *labels]
    )


def test_dataset_checks_what_every_adapter_promises():
    assert not Dataset(["A"], images()).test_labelled
    assert "no labels" in refused(Dataset, [], images(labels=()))
    assert refused(Dataset, ["view"], images(labels=("view",))) == (
        "label 'view' has the name of another column of the manifest: rename that label"
    )
    assert "no training images" in refused(Dataset, ["A"], images("test"))
    with pytest.raises(ValueError, match="columns must be"):
        Dataset(["B"], images())


def test_reading_tables_never_imports_torch():
    code = (
        "import sys, couplet.datasets.registry, couplet.datasets.inventory; "
        "sys.exit(any(name in sys.modules for name in ('torch', 'timm', 'torchvision')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
