from __future__ import annotations

import numpy as np
import pytest

from couplet.datasets.openi import FINDINGS, MAX_XML, PROJECTIONS, REPORTS
from couplet.datasets.registry import read_dataset
from tests.support.errors import refused

REPORT_TABLE = """\
uid,MeSH,Problems,image,indication,comparison,findings,impression
1,normal,normal,Xray Chest PA and Lateral,Positive TB test,None.,The cardiac silhouette is normal.,Normal.
2,Cardiomegaly/borderline;Pulmonary Artery/enlarged,Cardiomegaly;Pulmonary Artery,"Chest, 2 views",x,None.,y,z
3,"Lung/hypoinflation;Catheters, Indwelling/right;Calcified Granuloma/lung/upper lobe",Lung,x,x,x,x,x
4,No Indexing,No Indexing,x,x,x,x,x
5,Technical Quality of Image Unsatisfactory ,x,x,x,x,x,x
6,Lung,Lung,x,x,x,x,x
"""
PROJECTION_TABLE = """\
uid,filename,projection
2,2_IM-0652-1001.dcm.png,Frontal
1,1_IM-0001-4001.dcm.png,Frontal
1,1_IM-0001-3001.dcm.png,Lateral
3,3_IM-1384-1001.dcm.png,Frontal
4,4_IM-2050-1001.dcm.png,Frontal
5,5_IM-2117-1003002.dcm.png,Frontal
"""
FILES = [line.split(",")[1] for line in PROJECTION_TABLE.splitlines()[1:]]


def xml(uid: str, terms: list[str], images: list[str]) -> str:
    """A report as the collection has it, with the parts that are read and one that is not."""
    major = "".join(f"<major>{term}</major>" for term in terms)
    parents = "".join(
        f'<parentImage id="{name}"><figureId>F1</figureId><caption>Xray Chest</caption></parentImage>'
        for name in images
    )
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<eCitation>'
        f'<meta type="rr"/><uId id="{uid}"/><pmcId id="{uid[3:]}"/>'
        f"<MedlineCitation><Article/></MedlineCitation><MeSH>{major}<automatic>edema</automatic></MeSH>{parents}</eCitation>\n"
    )


@pytest.fixture
def kaggle(put, raw):
    put(REPORTS, REPORT_TABLE)
    put(PROJECTIONS, PROJECTION_TABLE)
    for name in FILES:
        put(f"images/images_normalized/{name}")
    return raw


@pytest.fixture
def nlm(put, raw):
    put("ecgen-radiology/1.xml", xml("CXR1", ["normal"], ["CXR1_1_IM-0001-3001", "CXR1_1_IM-0001-4001"]))
    put("ecgen-radiology/10.xml", xml("CXR10", ["Opacity/lung/base/left", "Thickening/pleura"], ["CXR10_IM-0002-1001"]))  # fmt: skip
    put("ecgen-radiology/2.xml", xml("CXR2", ["Cardiomegaly/borderline"], ["CXR2_IM-0652-1001"]))
    put("ecgen-radiology/3.xml", xml("CXR3", ["No Indexing"], ["CXR3_IM-1384-1001"]))
    put("ecgen-radiology/4.xml", xml("CXR4", ["Mass"], []))
    for name in ("CXR1_1_IM-0001-3001", "CXR1_1_IM-0001-4001", "CXR10_IM-0002-1001", "CXR2_IM-0652-1001", "CXR3_IM-1384-1001"):  # fmt: skip
        put(f"NLMCXR_png/{name}.png")
    return raw


def positives(dataset) -> dict[str, list[str]]:
    table = dataset.table.set_index("image_id")[dataset.labels]
    return {
        str(name): [label for label in dataset.labels if row[label] == 1] for name, row in table.iterrows()
    }


def test_every_value_of_kaggles_tables(kaggle, capsys):
    dataset = read_dataset("openi", kaggle)
    images = dataset.table
    assert dataset.labels == list(FINDINGS) and len(FINDINGS) == 22
    assert images["image_id"].tolist() == FILES[:4]
    assert images["path"].tolist() == [f"images/images_normalized/{name}" for name in FILES[:4]]
    assert images["part"].tolist() == ["train"] * 4
    assert images["patient_id"].tolist() == images["study_id"].tolist() == ["2", "1", "1", "3"]
    assert images["view"].tolist() == ["Frontal", "Frontal", "Lateral", "Frontal"]
    assert (images[["sex", "age"]] == "").all(axis=None)
    assert images["row"].tolist() == [2, 3, 4, 5]
    assert positives(dataset) == {
        FILES[0]: ["Cardiomegaly"],
        FILES[1]: [],
        FILES[2]: [],
        FILES[3]: ["Granuloma", "Hypoinflation"],
    }
    assert np.isin(images[dataset.labels], (0, 1)).all()
    # Not coded, and coded as a bad image alone.
    assert dataset.notes == {"images_without_labels": 2}
    assert "openi: the collection has no test part, it is drawn" in capsys.readouterr().out


def test_every_value_of_the_xml_reports(nlm):
    dataset = read_dataset("openi", nlm)
    images = dataset.table
    names = ["CXR1_1_IM-0001-3001", "CXR1_1_IM-0001-4001", "CXR2_IM-0652-1001", "CXR10_IM-0002-1001"]
    assert images["image_id"].tolist() == names
    assert images["path"].tolist() == [f"NLMCXR_png/{name}.png" for name in names]
    assert images["patient_id"].tolist() == images["study_id"].tolist() == ["CXR1", "CXR1", "CXR2", "CXR10"]
    assert images["part"].tolist() == ["train"] * 4 and images["row"].tolist() == [0] * 4
    assert (images[["view", "sex", "age"]] == "").all(axis=None)
    # Automatic terms, those that software found, are no labels.
    assert positives(dataset) == {
        names[0]: [],
        names[1]: [],
        names[2]: ["Cardiomegaly"],
        names[3]: ["Opacity", "Pleural Thickening"],
    }
    assert dataset.notes == {"images_without_labels": 1}


def test_images_that_unpacked_without_a_folder(nlm):
    for path in (nlm / "NLMCXR_png").iterdir():
        path.rename(nlm / path.name)
    (nlm / "NLMCXR_png").rmdir()
    assert read_dataset("openi", nlm).table["path"].tolist()[0] == "CXR1_1_IM-0001-3001.png"


@pytest.mark.parametrize("home", ["images_normalized", "images"])
def test_kaggles_images_in_other_folders(put, raw, home):
    put(REPORTS, REPORT_TABLE)
    put(PROJECTIONS, PROJECTION_TABLE)
    for name in FILES:
        put(f"{home}/{name}")
    assert read_dataset("openi", raw).table["path"].tolist()[0] == f"{home}/{FILES[0]}"


def test_labels_are_terms_with_or_without_their_qualifiers(kaggle):
    args = {"labels": {"Artery": ["Pulmonary Artery/enlarged"], "Devices": ["Catheters, Indwelling"], "Low": ["lung/HYPOINFLATION"]}}  # fmt: skip
    dataset = read_dataset("openi", kaggle, args)
    assert positives(dataset) == {
        FILES[0]: ["Artery"],
        FILES[1]: [],
        FILES[2]: [],
        FILES[3]: ["Devices", "Low"],
    }
    assert refused(read_dataset, "openi", kaggle, {"labels": ["Cardiomegly"]}).startswith(
        "data.source_args.labels: no image of indiana_reports.csv has 'Cardiomegly': correct it (nearest: cardiomegaly, "
    )


def test_both_releases_in_one_folder(kaggle, put):
    put("ecgen-radiology/2.xml", xml("CXR2", ["Mass"], ["CXR2_IM-0652-1001"]))
    put("NLMCXR_png/CXR2_IM-0652-1001.png")
    assert refused(read_dataset, "openi", kaggle) == (
        f"{kaggle} holds both releases (indiana_reports.csv and ecgen-radiology/2.xml): set data.source_args.release to "
        "kaggle or nlm"
    )
    assert len(read_dataset("openi", kaggle, {"release": "kaggle"}).table) == 4
    assert len(read_dataset("openi", kaggle, {"release": "nlm"}).table) == 1


def test_no_reports(raw, put):
    assert refused(read_dataset, "openi", raw) == (
        f"{raw} has no reports; looked for indiana_reports.csv and *.xml: unpack the tables or NLMCXR_reports.tgz there"
    )
    assert refused(read_dataset, "openi", raw, {"release": "nlm"}) == (
        f"{raw} has no XML reports: unpack NLMCXR_reports.tgz there"
    )
    assert f"{raw}/{REPORTS} is not there" in refused(read_dataset, "openi", raw, {"release": "kaggle"})
    put(REPORTS, REPORT_TABLE)
    assert f"{raw}/{PROJECTIONS} is not there" in refused(read_dataset, "openi", raw)


@pytest.mark.parametrize(
    ("name", "old", "new", "expected"),
    [
        (REPORTS, "\n2,C", "\n1,C", "row 3, column 'uid': '1' is already in row 2: take one of them out"),
        (REPORTS, "MeSH", "Mesh", "row 1: column 'MeSH' is missing: add it to the header; in the header allowed: uid, Mesh, Problems"),
        (PROJECTIONS, "\n2,", "\n77,", "row 2, column 'uid': report '77' is not in indiana_reports.csv: use the tables of one release"),
        (PROJECTIONS, "\n2,", "\n,", "row 2, column 'uid': the cell is empty: fill it or take the row out"),
        (PROJECTIONS, FILES[1], FILES[0], f"row 3, column 'filename': {FILES[0]!r} is already in row 2"),
        (PROJECTIONS, FILES[1], "x.png", "row 3, column 'filename': images/images_normalized/x.png is not in "),
        (PROJECTIONS, FILES[1], "../x.png", "row 3, column 'filename': 'images/images_normalized/../x.png' is not a path inside"),
        (PROJECTIONS, "projection", "view", "row 1: column 'projection' is missing"),
    ],
)  # fmt: skip
def test_mistakes_in_the_tables(kaggle, put, name, old, new, expected):
    put(name, (REPORT_TABLE if name == REPORTS else PROJECTION_TABLE).replace(old, new, 1))
    assert f"{kaggle}/{name}, {expected}" in refused(read_dataset, "openi", kaggle)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (xml("CXR2", ["Mass"], ["a"])[:90], " is not valid XML (unclosed token: line 2, column "),
        (xml("CXR2", ["Mass"], ["a"]).replace('<uId id="CXR2"/>', ""), ": uId has no id: unpack NLMCXR_reports.tgz again"),
        (xml("CXR2", ["Mass"], [" "]), ": parentImage has no id: unpack NLMCXR_reports.tgz again"),
        (xml("CXR2", ["Mass"], ["CXR10_IM-0002-1001"]), ""),
        (xml("CXR2", ["Mass"], ["a"]), ": NLMCXR_png/a.png is not in "),
        (xml("CXR2", ["Mass"], ["../a"]), ": 'NLMCXR_png/../a.png' is not a path inside the data folder"),
        (xml("CXR2", ["Mass"], ["=a"]), ": '=a' would be a formula in a spreadsheet"),
        (xml("=2", ["Mass"], ["a"]), ": '=2' would be a formula in a spreadsheet"),
        ('<!DOCTYPE x [<!ENTITY a "b">]>' + xml("CXR2", ["Mass"], ["a"])[39:], " declares entities, as no report does: take it away"),
        ("", f" is empty or has more than {MAX_XML} bytes: it is no report, take it away"),
        ("<a>" + " " * MAX_XML + "</a>", f" is empty or has more than {MAX_XML} bytes: it is no report, take it away"),
    ],
)  # fmt: skip
def test_mistakes_in_the_reports(nlm, put, content, expected):
    put("ecgen-radiology/2.xml", content)
    message = refused(read_dataset, "openi", nlm)
    if not expected:
        expected = f"{nlm}/ecgen-radiology/10.xml: image 'CXR10_IM-0002-1001' is already in ecgen-radiology/2.xml: remove"
        assert message.startswith(expected)
    else:
        assert message.startswith(f"{nlm}/ecgen-radiology/2.xml{expected}")


def test_reports_that_cannot_be_used(raw, put):
    put("1.xml", xml("CXR1", ["Mass"], []))
    assert refused(read_dataset, "openi", raw) == (
        f"{raw}: no report names an image (parentImage): use the reports of the release"
    )
    put("1.xml", xml("CXR1", [], ["a"]))
    assert refused(read_dataset, "openi", raw) == (
        f"{raw}: no report has a coding (MeSH): use the reports of the release"
    )
    (raw / "1.xml").write_bytes("<a>ä</a>".encode("latin-1"))
    assert refused(read_dataset, "openi", raw).startswith(
        f"{raw}/1.xml is not valid XML ('utf-8' codec can't decode"
    )
