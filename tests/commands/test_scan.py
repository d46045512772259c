"""`couplet scan` as a command: what it prints, its page, and tables that cannot be read yet."""

from __future__ import annotations

from pathlib import Path

from tests.bad_inputs.healthy import slam_project


def test_what_is_there_is_said_and_written_as_a_page(tmp_path: Path) -> None:
    project = slam_project(tmp_path / "project")
    outcome = project.run("scan", "--html", "pages/scan.html")
    assert outcome.code == 0, outcome
    said = [line for line in outcome.out if not line.startswith("hashing")]
    assert said[0].startswith("data/inventory.json: grand_xray_slam")
    assert said[1].startswith("train: ") and said[2].startswith("test: 3 images")
    assert outcome.out[-1] == "pages/scan.html: what is there, as a page"
    assert "<h1>grand_xray_slam</h1>" in (project.folder / "pages/scan.html").read_text()


def test_the_inventory_is_written_where_a_table_is_wrong(tmp_path: Path) -> None:
    project = slam_project(tmp_path / "project")
    table = project.raw / "train2.csv"
    table.write_text(table.read_text().replace("Edema", "Oedema", 1))
    outcome = project.run("scan")
    assert outcome.code == 0 and (project.folder / "data/inventory.json").exists()
    stop, where = (
        "the inventory is written, but `prepare` would stop: ",
        "data/raw/grand_xray_slam/train2.csv, row 1",
    )
    assert outcome.out[-1].startswith(stop) and where in outcome.out[-1]
    page = project.run("scan", "--html", "scan.html")
    assert page.code == 1 and not (project.folder / "scan.html").exists()
    assert page.err == [f"error: {outcome.out[-1].removeprefix(stop)}"]
