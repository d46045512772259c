from __future__ import annotations

import os

import pytest
from pandas import Series

from couplet.datasets.folder import (
    check_images,
    check_paths,
    homes_of,
    require_folder,
    walk,
    walk_members,
)
from tests.support.errors import refused


def where(row: int) -> str:
    return f"t.csv, row {row}, column 'image'"


def paths(*names: str) -> Series:
    return Series(list(names), index=range(2, len(names) + 2))


def test_walk_lists_every_regular_file_that_is_not_hidden(put, raw):
    for path in ("b.jpg", "a/c.jpg", "a/deep/d.jpg", ".hidden/e.jpg", "a/.f.jpg"):
        put(path)
    os.mkfifo(raw / "pipe")
    assert sorted(path for path, _ in walk(raw)) == ["a/c.jpg", "a/deep/d.jpg", "b.jpg"]
    assert sorted(path for path, _ in walk(raw, below={"a"})) == ["a/c.jpg", "a/deep/d.jpg"]


def test_walk_follows_links_inside_and_marks_those_that_leave(put, raw, tmp_path):
    put("a/c.jpg")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "x.jpg").write_bytes(b"x")
    (raw / "same").symlink_to("a")
    (raw / "away").symlink_to(tmp_path / "outside")
    (raw / "x.jpg").symlink_to(tmp_path / "outside" / "x.jpg")
    found = dict(walk(raw))
    assert sorted(found) == ["a/c.jpg", "away", "same/c.jpg", "x.jpg"]
    assert found["away"] is None and found["x.jpg"] is None and found["same/c.jpg"] is not None


def test_walk_ends_where_links_go_in_circles(put, raw):
    put("a/c.jpg")
    put("b/d.jpg")
    (raw / "a" / "up").symlink_to("..")
    (raw / "a" / "to_b").symlink_to("../b")
    (raw / "b" / "to_a").symlink_to("../a")
    assert sorted(path for path, _ in walk(raw)) == ["a/c.jpg", "a/to_b/d.jpg", "b/d.jpg", "b/to_a/c.jpg"]


def test_the_raw_folder_itself_may_be_a_link(put, raw, tmp_path):
    put("images/a.jpg")
    (tmp_path / "link").symlink_to(raw)
    check_images(tmp_path / "link", paths("images/a.jpg"), where)


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "../a.jpg", "a/../../b.jpg", "a/..", "C:/a.jpg", "a\\b.jpg", "./a.jpg", "a//b.jpg", "a/", "",
     "a\x00b", "a\nb"],
)  # fmt: skip
def test_paths_that_could_leave_the_folder_are_refused(path):
    assert refused(check_paths, paths("good.jpg", path), where) == (
        f"{where(3)}: {path!r} is not a path inside the data folder: write it relative, with '/' and without '..'"
    )


@pytest.mark.parametrize("path", ["a.jpg", "a/b.jpg", "a..b/c..jpg", "ä b/c,d.jpg", "...x/y"])
def test_other_paths_are_fine(path):
    check_paths(paths(path), where)


def test_missing_images_are_named_and_counted(put, raw):
    put("images/a.jpg")
    assert refused(check_images, raw, paths("images/a.jpg", "images/b.jpg"), where) == (
        f"{where(3)}: images/b.jpg is not in {raw}: put the file there or take the row out of the table"
    )
    message = refused(check_images, raw, paths("images/c.jpg", "images/a.jpg", "other/b.jpg"), where)
    assert message.startswith(f"{where(2)}: images/c.jpg is not in {raw} (2 images are missing): put")


def test_what_is_no_image_file_is_named(put, raw, tmp_path):
    (raw / "folder.jpg").mkdir()
    assert "folder.jpg is a folder, not an image" in refused(check_images, raw, paths("folder.jpg"), where)
    os.mkfifo(raw / "pipe.jpg")
    assert "pipe.jpg is not a regular file" in refused(check_images, raw, paths("pipe.jpg"), where)
    put(".a.jpg")
    assert ".a.jpg is hidden" in refused(check_images, raw, paths(".a.jpg"), where)
    (raw / "broken.jpg").symlink_to("nothing.jpg")
    assert refused(check_images, raw, paths("broken.jpg"), where) == (
        f"{where(2)}: broken.jpg is a link to something that is not there: mend the link or put the file there"
    )
    (raw / "circle.jpg").symlink_to("circle.jpg")
    assert "circle.jpg is a link that leads to itself: mend" in refused(
        check_images, raw, paths("circle.jpg"), where
    )


def test_a_name_that_is_there_in_another_spelling_is_shown(put, raw):
    put("images/Ü (1).JPG")
    assert refused(check_images, raw, paths("images/u\u0308(1).jpg"), where) == (
        f"{where(2)}: images/u\u0308(1).jpg is not in {raw}, but 'images/Ü (1).JPG' is: "
        "write it exactly so, or rename the file"
    )


def test_images_behind_a_link_that_leaves_are_refused(raw, tmp_path):
    outside = tmp_path / "raw_but_longer"  # its name starts like the raw folder's
    outside.mkdir()
    (outside / "x.jpg").write_bytes(b"x")
    (raw / "images").symlink_to(outside)
    (raw / "y.jpg").symlink_to(outside / "x.jpg")
    for path in ("images/x.jpg", "y.jpg"):
        assert refused(check_images, raw, paths(path), where) == (
            f"{where(2)}: {path} leaves the data folder through a link: "
            f"link the whole data set as {raw} instead"
        )


def test_homes_of_an_image(put, raw):
    for path in ("a.png", "x/a.png", "x/b.JPG", "y/b.png", "@eaDir/c.png", ".z/c.png", "y/d.dcm"):
        put(path)
    assert [homes_of(raw, name) for name in ("a.png", "a", "x/a.png")] == [["."]] * 3
    assert homes_of(raw, "b") == ["x", "y"] and homes_of(raw, "d") == ["y"]
    assert [homes_of(raw, name) for name in ("c.png", "", "b" * 300)] == [[]] * 3
    assert homes_of(raw / "none", "a.png") == []


def test_images_in_the_folders_of_network_storage_are_not_read(put, raw):
    put("a/@eaDir/x.jpg")
    assert refused(check_images, raw, paths("a/@eaDir/x.jpg"), where) == (
        f"{where(2)}: a/@eaDir/x.jpg is not read: @eaDir and #recycle are no data, put the file elsewhere"
    )


def test_a_missing_folder_says_how_to_link_it(raw):
    require_folder("nih", raw)
    assert refused(require_folder, "nih", raw / "nih") == (
        f"{raw}/nih is not there: link the data with `ln -s /path/to/the/data {raw}/nih` "
        "(docs/datasets.md, nih), or set COUPLET_DATA_ROOT"
    )
    (raw / "nih").symlink_to("nowhere")
    assert "is a link to something that is not there" in refused(require_folder, "nih", raw / "nih")


def test_members_may_be_links_but_nothing_below_may_leave_its_data_set(put, raw, tmp_path):
    put("a/x.jpg")
    put("b/y.jpg")
    put("note.txt", "n")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "z.jpg").write_bytes(b"z")
    (raw / "c").symlink_to(tmp_path / "c")
    assert sorted(path for path, _ in walk_members(raw)) == ["a/x.jpg", "b/y.jpg", "c/z.jpg", "note.txt"]
    assert all(entry is not None for _, entry in walk_members(raw))
    (raw / "a" / "to_b").symlink_to("../b")
    (tmp_path / "c" / "out").symlink_to(raw / "b" / "y.jpg")
    (raw / "z.jpg").symlink_to(tmp_path / "c" / "z.jpg")
    (raw / "circle").symlink_to("circle")
    (raw / "nothing").symlink_to("nowhere")
    (raw / ".hidden").mkdir()
    found = dict(walk_members(raw))
    assert {path for path, entry in found.items() if entry is None} == {"a/to_b", "c/out", "z.jpg"}
    assert len(found) == 7
