"""Open-i, the chest X-ray collection of Indiana University: the XML reports with NLMCXR_png/, or Kaggle's two tables.

Demner-Fushman et al., Preparing a collection of radiology examinations for distribution and retrieval, JAMIA 2016. Two
people coded each report with MeSH terms and RadLex terms, a term with its qualifiers: `Opacity/lung/base/left`.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

from pandas import DataFrame, Index, Series

from couplet.datasets.base import Dataset, image_table
from couplet.datasets.folder import check_images, check_paths, walk
from couplet.datasets.names import check_names
from couplet.datasets.tables import read_raw_table
from couplet.datasets.terms import check_terms, label_columns, read_terms
from couplet.project.console import say
from couplet.project.errors import UserError
from couplet.settings.sources.openi import Settings

REPORTS, PROJECTIONS = "indiana_reports.csv", "indiana_projections.csv"
KAGGLE_IMAGES = ("images/images_normalized", "images_normalized", "images")
XML_IMAGES = "NLMCXR_png"
MAX_XML = 2**20  # a report has a few thousand bytes
# Frequent findings; which terms make one is our own reading of the collection's coding.
FINDINGS = {
    "Airspace Disease": ["Airspace Disease"],
    "Atelectasis": ["Pulmonary Atelectasis"],
    "Cardiomegaly": ["Cardiomegaly"],
    "Consolidation": ["Consolidation"],
    "COPD": ["Pulmonary Disease, Chronic Obstructive"],
    "Edema": ["Pulmonary Edema"],
    "Emphysema": ["Emphysema", "Pulmonary Emphysema"],
    "Fibrosis": ["Pulmonary Fibrosis"],
    "Fracture": ["Fractures, Bone"],
    "Granuloma": ["Granuloma", "Calcified Granuloma", "Granulomatous Disease"],
    "Hernia": ["Hernia, Hiatal"],
    "Hyperdistention": ["Lung/hyperdistention"],
    "Hypoinflation": ["Lung/hypoinflation"],
    "Infiltrate": ["Infiltrate"],
    "Mass": ["Mass"],
    "Nodule": ["Nodule"],
    "Opacity": ["Opacity"],
    "Pleural Effusion": ["Pleural Effusion"],
    "Pleural Thickening": ["Thickening/pleura"],
    "Pneumonia": ["Pneumonia"],
    "Pneumothorax": ["Pneumothorax"],
    "Scoliosis": ["Scoliosis"],
}
# A report that has nothing but these says nothing of findings.
SAYS_NOTHING = frozenset(("no indexing", "technical quality of image unsatisfactory"))


@dataclass(frozen=True)
class Images:
    """What both releases give; the Series share their index, and `places` names each in its file for messages."""

    image_id: Series
    patient: Series
    path: Series
    view: Series
    terms: Series
    places: Series
    row: Series | int


def read(folder: Path, args: Settings, check_files: bool = True) -> Dataset:
    """Read a row per image; images whose report has no coding are left out and counted; the test part is drawn."""
    files = _xml_files(folder)
    release = args.release if args.release != "auto" else _release(folder, files)
    images = _kaggle(folder) if release == "kaggle" else _nlm(folder, files)
    where = REPORTS if release == "kaggle" else "the XML reports"
    check_terms(args.labels, images.terms, where)
    coded = images.terms.map(lambda row: not row <= SAYS_NOTHING).astype(bool)
    if not coded.any():
        raise UserError(f"{folder}: no report has a coding (MeSH): use the reports of the release")
    paths = images.path[coded]
    place = images.places.__getitem__
    check_paths(paths, place)
    if check_files:
        check_images(folder, paths, place)
    labels = label_columns(images.terms[coded], args.labels or FINDINGS)
    table = image_table(
        labels,
        image_id=images.image_id[coded],
        part="train",
        # The collection has one report, of frontal and lateral images, of each patient.
        patient_id=images.patient[coded],
        study_id=images.patient[coded],
        view=images.view[coded],
        path=paths,
        row=images.row if isinstance(images.row, int) else images.row[coded],
    )
    say("openi: the collection has no test part, it is drawn (split.test_fraction)")
    left_out = int((~coded).sum())
    return Dataset(
        labels=list(labels.columns),
        table=table,
        notes={"images_without_labels": left_out} if left_out else {},
    )


def _release(folder: Path, files: list[str]) -> str:
    tables = (folder / REPORTS).exists()
    if tables and files:
        raise UserError(
            f"{folder} holds both releases ({REPORTS} and {files[0]}): set data.source_args.release to kaggle or nlm"
        )
    if not tables and not files:
        raise UserError(
            f"{folder} has no reports; looked for {REPORTS} and *.xml: unpack the tables or NLMCXR_reports.tgz there"
        )
    return "kaggle" if tables else "nlm"


def _kaggle(folder: Path) -> Images:
    reports = read_raw_table(folder / REPORTS, ("uid", "MeSH"))
    images = read_raw_table(folder / PROJECTIONS, ("uid", "filename", "projection"))
    by_uid = Series(
        read_terms(reports.text("MeSH"), lambda cell, _: cell.split(";")).to_numpy(),
        index=reports.unique("uid").to_numpy(),
        dtype=object,
    )
    uid, name = images.filled("uid"), images.unique("filename")
    for row in uid.index[~uid.isin(by_uid.index)][:1]:
        raise UserError(
            f"{images.where(row, 'uid')}: report {uid[row]!r} is not in {REPORTS}: use the tables of one release"
        )
    home = next((home for home in KAGGLE_IMAGES if (folder / home).is_dir()), KAGGLE_IMAGES[0])
    return Images(
        image_id=name,
        patient=uid,
        path=f"{home}/" + name,
        view=images.text("projection"),
        terms=uid.map(by_uid),
        places=Series({row: images.where(row, "filename") for row in name.index}, dtype=str),
        row=uid.index.to_series(),
    )


def _xml_files(folder: Path) -> list[str]:
    """The XML reports, in the order of their numbers."""
    found = [path for path, entry in walk(folder) if entry is not None and path.lower().endswith(".xml")]
    return sorted(found, key=lambda path: (len(path), path))


def _nlm(folder: Path, files: list[str]) -> Images:
    if not files:
        raise UserError(f"{folder} has no XML reports: unpack NLMCXR_reports.tgz there")
    rows = []
    seen: dict[str, str] = {}
    for path in files:
        report = _report(folder / path)
        uid = _id_of(report.find("uId"), folder / path, "uId")
        terms = "\n".join(node.text or "" for node in report.iterfind(".//MeSH/major"))
        for node in report.iterfind(".//parentImage"):
            image = _id_of(node, folder / path, "parentImage")
            if image in seen:
                raise UserError(
                    f"{folder / path}: image {image!r} is already in {seen[image]}: remove one of the two reports"
                )
            seen[image] = path
            rows.append((image, uid, terms, str(folder / path)))
    table = DataFrame(
        rows, columns=["image", "uid", "terms", "place"], index=Index(range(len(rows))), dtype=str
    )
    if table.empty:
        raise UserError(f"{folder}: no report names an image (parentImage): use the reports of the release")
    for column in ("image", "uid"):
        check_names(table[column], table["place"].__getitem__)
    # The archive of images unpacks to files without a folder.
    flat = not (folder / XML_IMAGES).is_dir() and any(folder.glob("*.png"))
    home = "" if flat else f"{XML_IMAGES}/"
    return Images(
        image_id=table["image"],
        patient=table["uid"],
        path=home + table["image"] + ".png",
        view=Series("", index=table.index),
        terms=read_terms(table["terms"], lambda cell, _: cell.split("\n")),
        places=table["place"],
        row=0,
    )


def _report(path: Path) -> ElementTree.Element:
    content = path.read_bytes() if path.stat().st_size <= MAX_XML else b""
    if not content:
        raise UserError(f"{path} is empty or has more than {MAX_XML} bytes: it is no report, take it away")
    try:
        text = content.decode("utf-8-sig")
        # An entity may stand for a billion characters, or for another file.
        if "<!ENTITY" in text:
            raise UserError(f"{path} declares entities, as no report does: take it away")
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid XML ({error}): unpack NLMCXR_reports.tgz again") from None


def _id_of(node: ElementTree.Element | None, path: Path, name: str) -> str:
    value = (node.get("id") or "").strip() if node is not None else ""
    if not value:
        raise UserError(f"{path}: {name} has no id: unpack NLMCXR_reports.tgz again")
    return value
