"""Label tables, patients and splits."""

from __future__ import annotations

from tests.bad_inputs.case import Case, Given, both, file, link, nothing, removed, replaced, setting, text
from tests.bad_inputs.cases_data_sets import copied
from tests.support.in_process import InProcessProject

LABELS = "{raw}/labels.csv"
SPLIT = "scan, prepare, split-mis"
ROW_5 = "03.png,p1,F,1,0,0"  # the cells of the row that most cases spoil


def table(*rows: str) -> Given:
    return file(LABELS, "\n".join(rows) + "\n")


def made(header: str, row: str) -> Given:
    """A table of the 24 images; {i} is an image's number, {odd} its last bit, {part} test for the last six."""
    rows = (
        row.format(i=i, name=f"{i:02d}.png", odd=i % 2, part="test" if i > 17 else "train") for i in range(24)
    )
    return table(header, *rows)


def encoded(encoding: str) -> Given:
    """The label table in another encoding."""

    def rewrite(project: InProcessProject) -> None:
        path = project.raw / "labels.csv"
        path.write_bytes(path.read_text().encode(encoding))

    return rewrite


def bad(name: str, given: Given, refused: str, run: str = "scan, prepare") -> Case:
    return Case(name, given, run=run, refused=refused)


def row_5(cells: str) -> Given:
    return replaced(LABELS, ROW_5, cells)


def header(old: str, new: str) -> Given:
    return replaced(LABELS, old, new, 1)


CASES = [
    Case(
        "a byte order mark",
        text(LABELS, lambda content: "\ufeff" + content),
        happens="read as if it were not there",
        finds={("column", "data/prepared/manifest.csv", "patient_id"): [f"p{i // 2}" for i in range(24)]},
    ),
    Case(
        "CRLF line ends",
        replaced(LABELS, "\n", "\r\n"),
        happens="read as if they were LF",
        finds={("cell", "data/prepared/manifest.csv", "05.png", "Rare"): "1"},
    ),
    bad(
        "semicolons between columns",
        replaced(LABELS, ",", ";"),
        "{project}/data/raw/csv/labels.csv, row 1: columns are separated by semicolons: save the table with commas",
    ),
    bad(
        "tabs between columns",
        replaced(LABELS, ",", "\t"),
        "{project}/data/raw/csv/labels.csv, row 1: columns are separated by tabs: save the table with commas",
    ),
    bad(
        "a table in UTF-16",
        encoded("utf-16"),
        "{project}/data/raw/csv/labels.csv, row 1: byte 0xff is not UTF-8 text: save the table as CSV in UTF-8",
    ),
    bad(
        "a table in Latin-1",
        both(header("sex", "größe"), encoded("latin-1")),
        "{project}/data/raw/csv/labels.csv, row 1: byte 0xf6 is not UTF-8 text: save the table as CSV in UTF-8",
    ),
    bad(
        "no label table",
        removed(LABELS),
        "{project}/data/raw/csv has no label table; looked for labels.csv or train.csv or one *.csv with labels: name it in data.source_args.table",
    ),
    bad(
        "an empty table",
        file(LABELS, ""),
        "{project}/data/raw/csv/labels.csv is empty: check that the file is complete",
    ),
    bad(
        "a header without rows",
        table("image,patient,Edema"),
        "{project}/data/raw/csv/labels.csv has no rows below its header: check that the file is complete",
    ),
    bad(
        "an unclosed quotation mark",
        row_5('"' + ROW_5),
        "{project}/data/raw/csv/labels.csv, row 5: not valid CSV (unexpected end of data): mend its quotation marks",
    ),
    bad(
        "a cell of 200,000 characters",
        row_5("x" * 200_000),
        "{project}/data/raw/csv/labels.csv, row 5: not valid CSV (field larger than field limit (131072)): mend its quotation marks",
    ),
    bad(
        "a label table that is a link to another place",
        link(LABELS, "/etc/hostname"),
        "{project}/data/raw/csv/labels.csv is a link that leaves the data folder: link the whole data set as {project}/data/raw/csv",
        run="scan",
    ),
    bad(
        "a column twice",
        header("Nodule", "Edema"),
        "{project}/data/raw/csv/labels.csv, row 1: column 'Edema' is there twice: rename or remove one of them",
    ),
    bad(
        "no image column",
        header("image", "pic"),
        "{project}/data/raw/csv/labels.csv, row 1: no image column: set data.source_args.image_column to its name ('pic' holds names of files)",
    ),
    bad(
        "a label column that is missing",
        setting("data.source_args", {"label_columns": ["Edema", "Mass"]}),
        "{project}/data/raw/csv/labels.csv, row 1: column 'Mass' is missing: correct data.source_args.label_columns; in the header allowed: image, patient, sex, Edema, Nodule, Rare",
    ),
    bad(
        "a row with a cell too few",
        row_5("03.png,F,1,0,0"),
        "{project}/data/raw/csv/labels.csv, row 5: 5 cells, but the header has 6 columns: complete the row, or quote the cell that holds a comma",
    ),
    bad(
        "a row with a cell too many",
        row_5("03.png,p1,F,1,0,0,1"),
        "{project}/data/raw/csv/labels.csv, row 5: 7 cells, but the header has 6 columns: complete the row, or quote the cell that holds a comma",
    ),
    Case(
        "an extra column, and a label column without a single value",
        made("image,patient,Edema,Nodule,note", "{name},p{i},{odd},,n{i}"),
        happens="said by name; neither is a label",
        said=(
            "labels.csv: columns that are not read: Nodule, note",
            "csv: 24 images, 1 labels",
        ),
    ),
    Case(
        "a column without a name",
        made("image,patient,Edema,", "{name},p{i},{odd},1"),
        happens="said; not a label",
        said=("labels.csv: column 4 has no name and is not read",),
    ),
    Case(
        "an image in two rows that agree",
        row_5("02.png,p1,F,1,0,0"),
        happens="one image, counted in labels.json and in the report; the file without a row is counted too",
        said=("csv: 23 images, 3 labels, repeated rows: 1, image files not listed: 1",),
        finds={
            ("entry", "data/prepared/labels.json", "notes"): {"repeated_rows": 1, "image_files_not_listed": 1}
        },
    ),
    bad(
        "an image in two rows that disagree",
        row_5("02.png,p1,F,0,0,0"),
        "{project}/data/raw/csv/labels.csv, row 5, column 'image': '02.png' is already in row 4 with other labels or another part: take one of them out",
    ),
    bad(
        "a label of 2",
        row_5("03.png,p1,F,2,0,0"),
        "{project}/data/raw/csv/labels.csv, row 5, column 'Edema': '2' is not a label, but most cells of that column are: write 1, 0, -1 or nothing, or name the labels in data.source_args.label_columns",
    ),
    bad(
        "a label of 0.5",
        row_5("03.png,p1,F,0.5,0,0"),
        "{project}/data/raw/csv/labels.csv, row 5, column 'Edema': '0.5' is not a label, but most cells of that column are: write 1, 0, -1 or nothing, or name the labels in data.source_args.label_columns",
    ),
    bad(
        "a label of yes",
        row_5("03.png,p1,F,yes,0,0"),
        "{project}/data/raw/csv/labels.csv, row 5, column 'Edema': 'yes' is not a label, but most cells of that column are: write 1, 0, -1 or nothing, or name the labels in data.source_args.label_columns",
    ),
    bad(
        "a label of NaN",
        row_5("03.png,p1,F,NaN,0,0"),
        "{project}/data/raw/csv/labels.csv, row 5, column 'Edema': 'NaN' is not a label, but most cells of that column are: write 1, 0, -1 or nothing, or name the labels in data.source_args.label_columns",
    ),
    bad(
        "a label of 2 in a column that is named as a label",
        both(setting("data.source_args", {"label_columns": ["Edema"]}), row_5("03.png,p1,F,2,0,0")),
        "{project}/data/raw/csv/labels.csv, row 5, column 'Edema': '2' is not a label: write 1, 0, -1 (uncertain) or nothing (unknown)",
    ),
    Case(
        "a label of -1 (uncertain) and a blank one",
        row_5("03.png,p1,F,-1,,0"),
        happens="unknown: masked out of loss and metrics, unless data.uncertain or data.unmentioned say otherwise",
        finds={
            ("cell", "data/prepared/manifest.csv", "03.png", "Edema"): "",
            ("cell", "data/prepared/manifest.csv", "03.png", "Nodule"): "",
            ("cell", "data/prepared/manifest.csv", "03.png", "Rare"): "0",
        },
    ),
    bad(
        "no column with labels",
        made("image,patient,A", "{name},p{i},"),
        "{project}/data/raw/csv/labels.csv, row 1: no column holds labels (1, 0, -1 or nothing): name the labels in data.source_args.label_columns",
    ),
    bad(
        "all labels unknown",
        both(
            setting("data.source_args", {"label_columns": ["A"]}), made("image,patient,A", "{name},p{i},-1")
        ),
        "data/prepared/manifest.csv: none of its 24 train images has a label: check the label table, data.uncertain and data.unmentioned",
        run=SPLIT,
    ),
    bad(
        "a column of 0 and 1 that is no label by its name",
        header("Nodule", "kept"),
        "{project}/data/raw/csv/labels.csv, row 1: column 'kept' holds labels (1, 0, -1 or nothing) but by name metadata: name the labels in data.source_args.label_columns ([Edema, kept, Rare] if 'kept' is one, [Edema, Rare] if not), or take the column out of the table",
    ),
    Case(
        "the same column, named as a label",
        both(
            setting("data.source_args", {"label_columns": ["Edema", "kept", "Rare"]}),
            header("Nodule", "kept"),
        ),
        happens="read; the labels are named in any case",
        said=("labels.csv: 3 labels: Edema, kept, Rare",),
        finds={("entry", "data/prepared/labels.json", "labels"): ["Edema", "kept", "Rare"]},
    ),
    bad(
        "labels of TRUE and FALSE",
        both(
            made("image,patient,A", "{name},p{i},x{odd}"),
            replaced(LABELS, ",x1", ",TRUE"),
            replaced(LABELS, ",x0", ",FALSE"),
        ),
        "{project}/data/raw/csv/labels.csv, row 1: no column holds labels (1, 0, -1 or nothing), but column 'A' holds FALSE and TRUE: write 1 and 0 instead",
    ),
    Case(
        "TRUE and FALSE beside labels",
        both(
            made("image,patient,A,B", "{name},p{i},{odd},x{odd}"),
            replaced(LABELS, ",x1", ",TRUE"),
            replaced(LABELS, ",x0", ",FALSE"),
        ),
        happens="said by name; not a label",
        said=(
            "labels.csv: column 'B' holds FALSE and TRUE, which are no labels: write 1 and 0 to make them so",
        ),
    ),
    bad(
        "labels as lists of names",
        made("image,patient,Labels", "{name},p{i},Mass|Edema"),
        "{project}/data/raw/csv/labels.csv, row 1: no column holds labels (1, 0, -1 or nothing), but column 'Labels' holds lists of names: make a column of 1 and 0 for each name",
    ),
    bad(
        "one row per box and reader",
        both(
            made("image,class_name,class_id,rad_id", "{name},Mass,{odd},R1"),
            text(LABELS, lambda content: content + "03.png,No finding,14,R2\n"),
        ),
        "{project}/data/raw/csv/labels.csv, row 1: no column holds labels (1, 0, -1 or nothing), but several rows per image and names in column 'class_name': make one row per image and a column of 1 and 0 for each name, 1 where any of its rows has it",
    ),
    bad(
        "a table without a header",
        text(LABELS, lambda content: content.partition("\n")[2]),
        "{project}/data/raw/csv/labels.csv, row 1: '00.png' is a file and no column's name: put a header above the table",
    ),
    bad(
        "blanks between columns",
        replaced(LABELS, ",", " "),
        "{project}/data/raw/csv/labels.csv, row 1: no image column: set data.source_args.image_column to its name",
    ),
    Case(
        "a label with one value",
        made("image,patient,A,B", "{name},p{i},{odd},1"),
        happens="said before anything is decoded",
        said=("warning: labels of one value only, which nothing can be learned of: B (no negative)",),
    ),
    Case(
        "a test image that is blank in every label, with data.unmentioned: zeros",
        both(
            setting("data.unmentioned", "zeros"),
            made("image,patient,part,A,B", "{name},p{i},{part},{odd},"),
            replaced(LABELS, "20.png,p20,test,0,", "20.png,p20,test,,"),
            replaced(LABELS, "00.png,p0,train,0,", "00.png,p0,train,,1"),
        ),
        happens="its labels are hidden: unknown, and counted; a blank cell beside a known one is a zero",
        said=("csv: 24 images, 2 labels, test images without labels: 1",),
        finds={
            ("cell", "data/prepared/manifest.csv", "20.png", "A"): "",
            ("cell", "data/prepared/manifest.csv", "21.png", "B"): "0",
            ("cell", "data/prepared/manifest.csv", "00.png", "A"): "0",
        },
    ),
    Case(
        "image names without their ending",
        replaced(LABELS, ".png", ""),
        happens="found if one file has that name; the id stays as it is",
        finds={("cell", "data/prepared/manifest.csv", "05", "Rare"): "1"},
    ),
    Case(
        "a part called val",
        both(
            made("image,patient,split,A", "{name},p{i},{part},{odd}"),
            replaced(LABELS, "01.png,p1,train", "01.png,p1,val"),
        ),
        happens="said, and counted as train",
        said=("labels.csv: 1 row of the part 'val' counts as train: couplet makes its own folds",),
        finds={("cell", "data/prepared/manifest.csv", "01.png", "part"): "train"},
    ),
    bad(
        "an empty image cell",
        row_5(",p1,F,1,0,0"),
        "{project}/data/raw/csv/labels.csv, row 5, column 'image': the cell is empty: fill it or take the row out",
    ),
    bad(
        "an empty patient cell",
        row_5("03.png,,F,1,0,0"),
        "{project}/data/raw/csv/labels.csv, row 5, column 'patient': the cell is empty: fill it or take the row out",
    ),
    Case(
        "no patient column",
        header("patient", "who"),
        happens="each image counts as its own patient; said, counted, and 'Patients: not known' in the report",
        said=("labels.csv: no patient column, each image counts as its own patient: scores may be too good",),
        finds={("entry", "data/prepared/labels.json", "notes.images_without_patient"): 24},
    ),
    Case(
        "a study column and no patient column",
        made("image,study,A", "{name},s{odd},{odd}"),
        happens="images of a study stay together; said and counted, as without a patient column",
        said=(
            "labels.csv: no patient column, the images of a study ('study') stay together: other studies of a patient may land in another fold, scores may be too good",
        ),
        finds={
            ("cell", "data/prepared/manifest.csv", "05.png", "patient_id"): "s1",
            ("entry", "data/prepared/labels.json", "notes.images_without_patient"): 24,
        },
    ),
    bad(
        "an image id that is a formula behind ./",
        row_5("./=1+1.png,p1,F,1,0,0"),
        "{project}/data/raw/csv/labels.csv, row 5, column 'image': '=1+1.png' would be a formula in a spreadsheet: rename it, without = + - or @ in front",
    ),
    bad(
        "an image id that is a formula",
        row_5("=cmd|' /C calc'!A0,p1,F,1,0,0"),
        "{project}/data/raw/csv/labels.csv, row 5, column 'image': \"=cmd|' /C calc'!A0\" would be a formula in a spreadsheet: rename it, without = + - or @ in front",
    ),
    bad(
        "a patient id that is a formula",
        row_5("03.png,@SUM(1+1),F,1,0,0"),
        "{project}/data/raw/csv/labels.csv, row 5, column 'patient': '@SUM(1+1)' would be a formula in a spreadsheet: rename it, without = + - or @ in front",
    ),
    bad(
        "a cell with an escape code for the terminal",
        row_5("03.png,p1\x1b[31m,F,1,0,0"),
        "{project}/data/raw/csv/labels.csv, row 5, column 'patient': 'p1\\x1b[31m' holds control characters: rename it, with printable ones only",
    ),
    bad(
        "a label that is a formula",
        header("Nodule", "=1+1"),
        "{project}/data/raw/csv/labels.csv, row 1: '=1+1' would be a formula in a spreadsheet: rename it, without = + - or @ in front",
    ),
    bad(
        "a label with a line end in it",
        header("Nodule", '"No\ndule"'),
        "{project}/data/raw/csv/labels.csv, row 1: 'No\\ndule' holds control characters: rename it, with printable ones only",
    ),
    bad(
        "a label with the name of one of our columns",
        both(setting("data.source_args", {"label_columns": ["Edema", "fold"]}), header("Nodule", "fold")),
        "label 'fold' has the name of another column of the manifest: rename that label",
    ),
    Case(
        "a label with quotes, commas, markup and letters of every kind",
        header("Nodule", '"<b>No""dule</b>, 結節 $x_$"'),
        run=SPLIT,
        happens="kept as it is, quoted in tables, escaped in the report",
        finds={
            ("entry", "data/prepared/labels.json", "labels"): ["Edema", '<b>No"dule</b>, 結節 $x_$', "Rare"]
        },
    ),
    bad(
        "a part that is neither train nor test",
        made("image,patient,part,A", "{name},p{i},training,{odd}"),
        "{project}/data/raw/csv/labels.csv, row 2, column 'part': 'training' is not one of test, train, val, valid, validate, validation: correct it",
    ),
    bad(
        "every image in the test part",
        made("image,patient,part,A", "{name},p{i},test,{odd}"),
        "the data set has no training images: every image is in the test part, move some",
    ),
    Case(
        "a patient with images in train and in test",
        both(
            made("image,patient,split,A", "{name},p{i},{part},{odd}"),
            replaced(LABELS, "01.png,p1,", "01.png,p20,"),
        ),
        run=SPLIT,
        happens="said and counted: test scores are optimistic",
        finds={("entry", "metrics/split.json", "patients_in_train_and_test"): 1},
    ),
    Case(
        "one picture in train and in test, of different patients and with other labels",
        both(
            made("image,patient,split,A", "{name},p{i},{part},{odd}"),
            copied("{raw}/images/01.png", "{raw}/images/20.png"),
        ),
        run=SPLIT,
        happens="said and counted: the data set's own test part stays as it is, its scores are optimistic",
        said=("warning: 1 picture of 2 patients; in two folds: 0, in train and test: 1",),
        finds={
            ("entry", "metrics/split.json", "pictures_in_train_and_test"): 1,
            ("entry", "metrics/split.json", "pictures_in_two_folds"): 0,
            ("entry", "metrics/split.json", "patients_sharing_a_picture"): 2,
        },
    ),
    bad(
        "one patient",
        made("image,patient,A", "{name},p,{odd}"),
        "split.test_fraction = 0.25 of 1 patient leaves the test part empty: set it to 0 or bring more data",
        run=SPLIT,
    ),
    bad(
        "fewer patients than folds",
        both(setting("split.test_fraction", 0.0), made("image,patient,A", "{name},p,{odd}")),
        "split.folds = [0, 1] needs at least 2 patients, and 1 can be dealt to them: list fewer folds, lower split.test_fraction or bring more data",
        run=SPLIT,
    ),
    bad(
        "one image",
        table("image,patient,A", "00.png,p,1"),
        "split.test_fraction = 0.25 of 1 patient leaves the test part empty: set it to 0 or bring more data",
        run=SPLIT,
    ),
    bad(
        "more folds than images",
        setting("split.folds", list(range(30)), **{"split.group_by": "none"}),
        "split.folds = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29] needs at least 30 images, and 18 can be dealt to them: list fewer folds, lower split.test_fraction or bring more data",
        run=SPLIT,
    ),
    bad(
        "one label, and it is always 1",
        made("image,patient,A", "{name},p{i},1"),
        "fold 0: no label has both positives and negatives among its 9 images, so no epoch of its training could be chosen: use fewer split.folds or bring more data",
        run=SPLIT,
    ),
    Case(
        "one label",
        made("image,patient,A", "{name},p{i},{odd}"),
        run=SPLIT + ", train-fold 0",
        happens="trained; there are no couplings between labels, so their mean is empty and not 0",
        finds={
            ("column", "data/models/fold_0/history.csv", "mean_abs_coupling"): ["", ""],
            ("row", "data/models/fold_0/couplings.csv", "A"): {"source": "A", "A": "0.00000000"},
        },
    ),
    Case(
        "a fold without a positive of a label",
        nothing,
        run="evaluate-fold 0",
        base="trained",
        happens="its AUC is empty, the label is named in labels_skipped and on the report's first screen",
        finds={
            ("entry", "metrics/fold_0.json", "labels_skipped"): ["Rare"],
            ("row", "plots/per_label/fold_0.csv", "Rare"): {
                "label": "Rare",
                "auc": "",
                "average_precision": "",
                "positives": "0",
                "negatives": "8",
            },
            ("report_says", "one class only in at least one fold: Rare"): True,
        },
    ),
]
