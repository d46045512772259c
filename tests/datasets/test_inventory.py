from __future__ import annotations

import hashlib
import json
import sys
import types

import pandas as pd
import pytest

from couplet.datasets.inventory import Inventory, load_inventory, scan, scan_source
from couplet.datasets.raw_folder import raw_folder
from tests.support.errors import refused


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty project as the current directory; its raw data in data/raw."""
    root = tmp_path / "project"
    (root / "data" / "raw").mkdir(parents=True)
    monkeypatch.chdir(root)
    monkeypatch.delenv("COUPLET_DATA_ROOT", raising=False)
    return root


FILES = {"b.txt": b"two", "a/x.jpg": b"one" * 1000, "a.csv": b"", 'odd, "name".txt': b"q", "NA": b"n"}


@pytest.fixture
def nih(project):
    folder = project / "data" / "raw" / "nih"
    for name, content in {**FILES, ".hidden": b"h", "a/.git/config": b"h"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def expected_digest() -> str:
    lines = [
        f"{name}\0{len(data)}\0{hashlib.md5(data).hexdigest()}\n" for name, data in sorted(FILES.items())
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@pytest.mark.parametrize("workers", [None, 1, 7])
def test_scan_lists_every_file_with_size_and_md5(nih, workers):
    inventory = scan("nih", nih, workers)
    assert inventory.files["path"].tolist() == sorted(FILES)
    assert inventory.files["size"].tolist() == [len(FILES[name]) for name in sorted(FILES)]
    assert inventory.md5_of("b.txt") == "b8a9f715dbb64fd5c56e7783c6820a61"  # printf two | md5sum
    assert inventory.md5_of("a.csv") == "d41d8cd98f00b204e9800998ecf8427e"  # of nothing
    assert inventory.summary == {"source": "nih", "files": 5, "bytes": 3005, "digest": expected_digest()}


def test_scan_source_writes_both_files_the_same_way_twice(nih, project):
    scan_source("nih")
    first = [(project / path).read_bytes() for path in ("data/inventory.json", "data/raw/nih.inventory.csv")]
    assert json.loads(first[0])["digest"] == expected_digest()
    assert first[1].startswith(b"path,size,md5\nNA,1,")
    scan_source("nih")
    assert first == [
        (project / path).read_bytes() for path in ("data/inventory.json", "data/raw/nih.inventory.csv")
    ]


def test_a_linked_raw_folder_gives_the_same_inventory(nih, project, tmp_path):
    nih.rename(tmp_path / "elsewhere")
    nih.symlink_to(tmp_path / "elsewhere")
    scan_source("nih")
    assert json.loads((project / "data/inventory.json").read_text())["digest"] == expected_digest()
    assert not (tmp_path / "nih.inventory.csv").exists()  # beside the link, not beside the data


def test_load_uses_the_list_and_check_compares_sizes(nih, monkeypatch):
    scan_source("nih")
    monkeypatch.setattr("couplet.datasets.inventory.scan", None)  # nothing is hashed again
    inventory = load_inventory("nih", nih)
    assert inventory.summary["digest"] == expected_digest()
    inventory.check(nih)


def test_check_names_the_first_difference(nih):
    scan_source("nih")
    inventory = load_inventory("nih", nih)
    (nih / "b.txt").write_bytes(b"three")
    since = "since data/inventory.json was written"
    assert refused(inventory.check, nih) == f"{nih}/b.txt has 5 bytes, not 3 {since}: run `couplet scan`"
    (nih / "a" / "x.jpg").unlink()
    assert refused(inventory.check, nih) == (
        f"{nih}/a/x.jpg is gone {since} (and 1 more files differ): run `couplet scan`"
    )
    (nih / "a" / "new.jpg").write_bytes(b"")
    assert refused(inventory.check, nih).startswith(f"{nih}/a/new.jpg is new {since} (and 2 more")


def test_check_sees_a_label_that_changed_in_a_table_of_the_same_size(nih):
    (nih / "a.csv").write_text("image,A\nx.jpg,0\n")
    scan_source("nih")
    inventory = load_inventory("nih", nih)
    (nih / "a" / "x.jpg").write_bytes(b"two" * 1000)  # for whoever decodes it to find
    inventory.check(nih)
    (nih / "a.csv").write_text("image,A\nx.jpg,1\n")
    assert refused(inventory.check, nih) == (
        f"{nih}/a.csv has changed since data/inventory.json was written: run `couplet scan`"
    )


def test_check_sees_a_report_that_changed_in_a_file_of_the_same_size(nih):
    (nih / "1.xml").write_text("<major>Mass</major>")
    scan_source("nih")
    inventory = load_inventory("nih", nih)
    (nih / "1.xml").write_text("<major>mass</major>")
    assert refused(inventory.check, nih) == (
        f"{nih}/1.xml has changed since data/inventory.json was written: run `couplet scan`"
    )


def test_md5_of_an_unknown_file(nih):
    assert refused(scan("nih", nih).md5_of, "c.txt") == (
        "c.txt is not in data/inventory.json (nih): run `couplet scan`"
    )


@pytest.mark.parametrize("damage", ["missing", "stale", "unreadable", "columns"])
def test_without_a_good_list_the_folder_is_hashed_again(nih, project, damage, capsys):
    scan_source("nih")
    listed = project / "data/raw/nih.inventory.csv"
    good = listed.read_bytes()
    if damage == "missing":
        listed.unlink()
    else:
        content = {
            "stale": good.replace(b"b.txt,3", b"b.txt,4"),
            "unreadable": b"\xff\x00",
            "columns": b"path,md5\na,b\n",
        }
        listed.write_bytes(content[damage])
    assert load_inventory("nih", nih).summary["digest"] == expected_digest()
    assert "nih.inventory.csv is missing or of another state: hashing" in capsys.readouterr().out
    assert listed.read_bytes() == good


def test_a_change_of_content_alone_is_found_where_the_folder_is_hashed(nih, project):
    scan_source("nih")
    (project / "data/raw/nih.inventory.csv").unlink()
    (nih / "b.txt").write_bytes(b"owt")  # the same size
    assert refused(load_inventory, "nih", nih) == (
        f"{nih} is not as in data/inventory.json (5 files, 3005 bytes, not 5 and 3005): restore the data, or "
        "run `couplet scan` to take it as it is"
    )
    assert not (project / "data/raw/nih.inventory.csv").exists()


def test_a_read_only_data_root_is_enough(nih, project, monkeypatch, capsys):
    scan_source("nih")
    (project / "data/raw/nih.inventory.csv").unlink()

    def refuse(path, frame):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("couplet.datasets.inventory.write_csv", refuse)
    assert load_inventory("nih", nih).summary["digest"] == expected_digest()
    assert (
        "nih.inventory.csv cannot be written (Permission denied): the next run will hash the data again"
        in capsys.readouterr().out
    )


def test_the_json_must_be_about_this_source(nih, project):
    assert refused(load_inventory, "nih", nih) == "data/inventory.json is not there: run `couplet scan`"
    scan_source("nih")
    assert refused(load_inventory, "phantom", nih) == (
        "data/inventory.json describes 'nih' but data.source is 'phantom': run `couplet scan`"
    )
    (project / "data/inventory.json").write_text('{"source": "nih", "files": "5"}')
    assert (
        refused(load_inventory, "nih", nih)
        == "data/inventory.json is not an inventory (keys: source, files, bytes, digest): run `couplet scan`"
    )
    (project / "data/inventory.json").write_text("{")
    assert "data/inventory.json is not valid JSON" in refused(load_inventory, "nih", nih)
    (project / "data/inventory.json").write_text("{\n<<<<<<< HEAD\n")
    said = refused(load_inventory, "nih", nih)
    assert "data/inventory.json" in said and "conflict" in said


def test_what_cannot_be_scanned(nih, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "empty holds no files: put the data there" in refused(scan, "nih", tmp_path / "empty")
    (nih / "bad\nname").write_bytes(b"")
    assert "the file name 'bad\\nname' holds control characters" in refused(scan, "nih", nih)
    (nih / "bad\nname").unlink()
    (nih / "away").symlink_to(tmp_path / "empty")
    assert refused(scan, "nih", nih) == (
        f"{nih}/away is a link that leaves the data folder: link the whole data set as {nih}"
    )


def test_scan_of_a_missing_folder_says_how_to_link_it(project):
    assert "link the data with `ln -s /path/to/the/data" in refused(scan_source, "chexpert")
    assert not (project / "data/inventory.json").exists()


def test_the_phantom_is_drawn_where_it_is_missing(project, monkeypatch):
    def draw_phantom(folder):
        folder.mkdir()
        (folder / "train2.csv").write_text("drawn")

    module = types.ModuleType("couplet.phantom.drawing")
    module.draw_phantom = draw_phantom
    monkeypatch.setitem(sys.modules, "couplet.phantom.drawing", module)
    assert raw_folder("phantom") == project / "data/raw/phantom"
    (project / "data/raw/phantom/train2.csv").write_text("mine")
    scan_source("phantom")  # what is there is not drawn again
    assert (project / "data/raw/phantom/train2.csv").read_text() == "mine"
    assert json.loads((project / "data/inventory.json").read_text())["files"] == 1


def test_inventory_of_real_images(shared_data):
    inventory = scan("coco", shared_data / "coco")
    assert isinstance(inventory, Inventory)
    assert len(inventory.files) == sum(path.is_file() for path in (shared_data / "coco").rglob("*"))
    path = "val2017/000000000776.jpg"
    assert inventory.md5_of(path) == hashlib.md5((shared_data / "coco" / path).read_bytes()).hexdigest()
    inventory.check(shared_data / "coco")


@pytest.mark.parametrize("name", ["=1+1.jpg", "@SUM(1).jpg", "-1+1/a.jpg", "a;=1+1.jpg"])
def test_a_file_name_that_is_a_formula_is_not_scanned(nih, name):
    """The inventory's list lies beside the data as CSV, which people open; the file need not be in any table."""
    (nih / name).parent.mkdir(exist_ok=True)
    (nih / name).write_bytes(b"x")
    assert refused(scan, "nih", nih) == (
        f"{nih}: file name: {name!r} would be a formula in a spreadsheet: rename it, without = + - or @ in front"
    )


@pytest.mark.filterwarnings("error")
def test_a_list_of_half_a_million_files_is_read_without_a_warning(project):
    n = 400_000
    paths = [f"{i:06d}" for i in range(n)]  # look like numbers but for the last
    paths[-1] = "NA"
    files = pd.DataFrame({"path": sorted(paths), "size": 7, "md5": [f"{i:032d}" for i in range(n)]})
    inventory = Inventory("nih", files)
    inventory.save()
    loaded = load_inventory("nih", project)
    assert loaded.files["path"].tolist() == sorted(paths)
    assert loaded.md5_of("000012") == f"{12:032d}"


def test_what_network_storage_keeps_beside_the_data_is_not_scanned(nih):
    for folder in ("@eaDir", "#recycle", "a/@eaDir"):
        (nih / folder).mkdir()
        (nih / folder / "x.jpg").write_bytes(b"thumbnail")
    assert scan("nih", nih).digest == expected_digest()


@pytest.mark.parametrize("name", ["-notes.txt", "+1 notes.txt", "=old/readme.md", "@todo"])
def test_a_note_with_the_name_of_a_formula_is_left_out(nih, name):
    (nih / name).parent.mkdir(exist_ok=True)
    (nih / name).write_bytes(b"n")
    inventory = scan("nih", nih)
    assert inventory.digest == expected_digest()
    inventory.check(nih)


def test_links_of_a_combined_set_are_its_members(nih, project, tmp_path):
    nih.rename(tmp_path / "elsewhere")
    combined = project / "data" / "raw" / "combined"
    combined.mkdir()
    (combined / "nih").symlink_to(tmp_path / "elsewhere")
    inventory = scan("combined", combined)
    assert inventory.files["path"].tolist() == sorted(f"nih/{name}" for name in FILES)
    assert inventory.md5_of("nih/b.txt") == "b8a9f715dbb64fd5c56e7783c6820a61"
    inventory.check(combined)
    (tmp_path / "elsewhere" / "b.txt").write_bytes(b"three")
    assert refused(inventory.check, combined).startswith(f"{combined}/nih/b.txt has 5 bytes, not 3 since")
    # The same folder is no set by itself: the link leaves it.
    assert refused(scan, "csv", combined) == (
        f"{combined}/nih is a link that leaves the data folder: link the whole data set as {combined}"
    )
    (tmp_path / "elsewhere" / "out").symlink_to(tmp_path)
    assert refused(scan, "combined", combined) == (
        f"{combined}/nih/out is a link that leaves the data folder: link the whole data set as {combined}/nih"
    )
    (tmp_path / "elsewhere" / "out").unlink()
    (combined / "t.csv").symlink_to(tmp_path / "elsewhere" / "a.csv")
    assert refused(scan, "combined", combined) == (
        f"{combined}/t.csv is a link that leaves the data folder: link the whole data set as {combined}/<name>"
    )
