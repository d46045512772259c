from __future__ import annotations

import gzip
import tracemalloc

import numpy as np
import pytest
from pandas import DataFrame

from couplet.datasets import csv_text
from couplet.datasets.tables import find_table, hidden_rows, read_raw_table, resolve_unknown
from tests.support.errors import refused


def test_rows_are_indexed_by_their_line_and_cells_are_text(put):
    table = read_raw_table(put("t.csv", 'id,note\n007,"two\nlines"\n\n1.0, padded \n'))
    assert table.columns == ["id", "note"]
    assert table.cells.index.tolist() == [2, 5]  # the quoted cell ends on line 3, line 4 is empty
    assert table.cells["id"].tolist() == ["007", "1.0"]
    assert table.cells["note"].tolist() == ["two\nlines", "padded"]


@pytest.mark.parametrize(
    "content",
    [b"\xef\xbb\xbfid,A\r\nx,1\r\ny,\r\n", b"id,A\nx,1\ny,", b"id,A\rx,1\ry,\r", b"id,A,\nx,1,\ny,,\n"],
    ids=["BOM and CRLF", "no last line end", "CR", "trailing comma"],
)
def test_bom_line_ends_and_trailing_commas_do_not_matter(raw, content):
    (raw / "t.csv").write_bytes(content)
    table = read_raw_table(raw / "t.csv", ["id", "A"])
    assert table.columns == ["id", "A"]
    assert table.cells.to_numpy().tolist() == [["x", "1"], ["y", ""]]


def test_gzip_is_read_and_a_broken_one_is_named(raw):
    (raw / "t.csv.gz").write_bytes(gzip.compress(b"id\nx\n"))
    assert read_raw_table(raw / "t.csv.gz").cells["id"].tolist() == ["x"]
    (raw / "t.csv.gz").write_bytes(gzip.compress(b"id\nx\n")[:-6])
    assert "t.csv.gz cannot be read" in refused(read_raw_table, raw / "t.csv.gz")


def test_a_packed_table_is_not_unpacked_beyond_the_limit(raw, monkeypatch):
    monkeypatch.setattr(csv_text, "MAX_BYTES", 1000)
    (raw / "t.csv.gz").write_bytes(gzip.compress(b"id\n" + b"x\n" * 10**6))
    assert refused(read_raw_table, raw / "t.csv.gz") == (
        f"{raw}/t.csv.gz has more than 1000 bytes: it is no label table, take it away"
    )


def test_a_small_table_is_read_in_little_memory(put):
    """Not in the gigabyte that a table may have: a limit of memory (`ulimit -v`) would refuse that."""
    path = put("t.csv", "id,A\n" + "x,1\n" * 1000)
    tracemalloc.start()
    rows = sum(1 for _ in csv_text.read_rows(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows == 1001
    assert peak < 8 * 2**20


def test_text_is_read_in_pieces_and_no_character_or_line_end_is_torn(raw):
    cells = ["é" * (n % 7) + str(n) for n in range(20_000)]
    (raw / "t.csv").write_bytes("\r\n".join(cells).encode())
    assert list(csv_text.read_rows(raw / "t.csv")) == [(n + 1, [cell]) for n, cell in enumerate(cells)]


def test_a_quotation_mark_that_is_never_closed_is_named_where_it_opens(put):
    path = put("t.csv", 'id\na\n"b\nc\nd\n')
    assert refused(read_raw_table, path) == (
        f"{path}, row 3: not valid CSV (unexpected end of data): mend its quotation marks"
    )


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "t.csv is empty: check that the file is complete"),
        (b"id,A\n", "t.csv has no rows below its header: check that the file is complete"),
        (b"id;A\nx;1\n", "t.csv, row 1: columns are separated by semicolons: save the table with commas"),
        (b"id\tA\nx\t1\n", "t.csv, row 1: columns are separated by tabs: save the table with commas"),
        (b"id,A,A\nx,1,1\n", "t.csv, row 1: column 'A' is there twice: rename or remove one of them"),
        (
            b"id,A\nx,1\ny\n",
            "t.csv, row 3: 1 cells, but the header has 2 columns: complete the row, or quote the cell",
        ),
        (b"id,A\nx,1,2\n", "t.csv, row 2: 3 cells, but the header has 2 columns"),
        (
            b"id,A\nx,1\ncaf\xe9,0\n",
            "t.csv, row 3: byte 0xe9 is not UTF-8 text: save the table as CSV in UTF-8",
        ),
        ("id,A\nx,1\n".encode("utf-16"), "t.csv, row 1: byte 0xff is not UTF-8 text"),
        (b'id,A\nx,"1"2\n', "t.csv, row 2: not valid CSV"),
        (
            b"idd,A\nx,1\n",
            "t.csv, row 1: column 'id' is missing: add it to the header; in the header did you mean 'idd'? "
            "(allowed: idd, A)",
        ),
    ],
    ids=lambda value: None if isinstance(value, str) else "",
)
def test_unreadable_tables_are_named(raw, content, expected):
    (raw / "t.csv").write_bytes(content)
    assert f"{raw}/{expected}" in refused(read_raw_table, raw / "t.csv", ["id"])


def test_missing_table(raw):
    assert f"{raw}/t.csv is not there" in refused(read_raw_table, raw / "t.csv")


def test_cells_are_checked(put):
    table = read_raw_table(
        put("t.csv", "id,patient,part,A,B\nx,1,train,1,0.0\ny,,test,-1,\nx,3,valid,1.0,yes\n")
    )
    where = f"{table.path}, row"
    assert refused(table.unique, "id") == (
        f"{where} 4, column 'id': 'x' is already in row 2: take one of them out"
    )
    assert refused(table.filled, "patient") == (
        f"{where} 3, column 'patient': the cell is empty: fill it or take the row out"
    )
    assert refused(table.one_of, "part", ["train", "test"]) == (
        f"{where} 4, column 'part': 'valid' is not one of test, train: correct it"
    )
    assert refused(table.label_values, ["A", "B"]) == (
        f"{where} 4, column 'B': 'yes' is not a label: write 1, 0, -1 (uncertain) or nothing (unknown)"
    )
    np.testing.assert_array_equal(table.label_values(["A"])["A"], [1, -1, 1])


@pytest.mark.parametrize("value", ["2", "nan", "0.5", "1.00", "TRUE", "+1"])
def test_only_the_four_label_values_are_labels(put, value):
    table = read_raw_table(put("t.csv", f"A\n{value}\n"))
    assert f"row 2, column 'A': {value!r} is not a label" in refused(table.label_values, ["A"])


def test_labels_are_named_by_the_first_bad_row(put):
    table = read_raw_table(put("t.csv", "A,B\n0,x\ny,1\n"))
    assert "row 2, column 'B': 'x'" in refused(table.label_values, ["A", "B"])


def test_find_table(put, raw):
    assert (
        "has no label table; looked for a.csv or b.csv or one *.csv with the columns id, A: keep"
        in refused(find_table, raw, ["a.csv", "b.csv"], ["id", "A"])
    )
    put("notes.csv", "id,text\n1,x\n")
    put(".hidden.csv", "id,A\n1,1\n")
    only = put("mine.csv", "id,A,more\n1,1,1\n")
    assert find_table(raw, ["a.csv"], ["id", "A"]) == only
    put("other.csv", "A,id\n1,1\n")
    assert "several tables fit (mine.csv, other.csv): keep" in refused(
        find_table, raw, ["a.csv"], ["id", "A"]
    )
    assert find_table(raw, ["a.csv"], ["id", "A"], not_these=["other.csv"]) == only
    standard = put("a.csv", "x\n1\n")
    assert find_table(raw, ["a.csv"], ["id", "A"]) == standard


def test_find_table_says_why_the_only_table_cannot_be_read(put, raw):
    put("mine.csv", "id;A\n1;1\n")
    assert "mine.csv, row 1: columns are separated by semicolons" in refused(find_table, raw, [], ["id", "A"])


@pytest.mark.parametrize(
    ("uncertain", "unmentioned", "expected_a", "expected_b"),
    [
        ("ignore", "ignore", [1, np.nan, np.nan, np.nan], [0, np.nan, np.nan, np.nan]),
        ("zeros", "ignore", [1, 0, np.nan, np.nan], [0, 0, np.nan, np.nan]),
        ("ones", "zeros", [1, 1, 0, np.nan], [0, 1, 0, np.nan]),
        ("ignore", "ones", [1, np.nan, 1, np.nan], [0, np.nan, 1, np.nan]),
        ({"A": "ones"}, "zeros", [1, 1, 0, np.nan], [0, np.nan, 0, np.nan]),
        ({"A": "zeros", "B": "ones"}, "ignore", [1, 0, np.nan, np.nan], [0, 1, np.nan, np.nan]),
    ],
)
def test_resolve_unknown(uncertain, unmentioned, expected_a, expected_b):
    # Rows: known, uncertain, blank, and a test image that no label table lists.
    frame = DataFrame(
        {
            "part": ["train", "train", "train", "test"],
            "row": [2, 3, 4, 0],
            "A": [1, -1, np.nan, np.nan],
            "B": [0, -1, np.nan, np.nan],
        }
    )
    before = frame.copy()
    resolved = resolve_unknown(frame, ["A", "B"], uncertain, unmentioned)
    np.testing.assert_array_equal(resolved["A"], expected_a)
    np.testing.assert_array_equal(resolved["B"], expected_b)
    assert frame.equals(before)


@pytest.mark.parametrize("unmentioned", ["ignore", "zeros", "ones"])
def test_a_test_row_that_is_blank_in_every_label_is_hidden(unmentioned):
    """Its labels are not published. In the training part, and beside a known label, a blank has its policy."""
    blank = {"ignore": np.nan, "zeros": 0.0, "ones": 1.0}[unmentioned]
    frame = DataFrame(
        {
            "part": ["test", "test", "test", "train"],
            "row": [2, 3, 4, 5],
            "A": [np.nan, 1, -1, np.nan],
            "B": [np.nan, np.nan, np.nan, np.nan],
        }
    )
    resolved = resolve_unknown(frame, ["A", "B"], "ignore", unmentioned)
    np.testing.assert_array_equal(resolved["A"], [np.nan, 1, np.nan, blank])
    np.testing.assert_array_equal(resolved["B"], [np.nan, blank, blank, blank])
    assert hidden_rows(frame, ["A", "B"]).tolist() == [True, False, False, False]


def test_resolve_unknown_names_an_unknown_label():
    frame = DataFrame({"part": ["train"], "row": [2], "Edema": [1.0]})
    assert refused(resolve_unknown, frame, ["Edema"], {"Edma": "ones"}) == (
        "data.uncertain names the unknown label 'Edma': did you mean 'Edema'? (allowed: Edema)"
    )
