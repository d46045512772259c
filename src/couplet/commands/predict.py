"""`couplet predict`: the trained ensemble on images that no stage knows.

couplet predict new_films/ --out predictions.csv --html predictions.html
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from couplet.inference.trained import Ensemble, head_of
from couplet.predicting.inputs import Ids, Input, Inputs, find_inputs, refuse_overwriting
from couplet.predicting.map_files import write_maps
from couplet.predicting.page import MOST_PICTURES, opened_page
from couplet.predicting.parts import made_here, write_parts
from couplet.predicting.rendered import remarks_on_dicom
from couplet.predicting.rows import Options, Row, predicted_rows
from couplet.predicting.studies import study_rows
from couplet.predicting.tasks import Source, Work, made_by_tasks
from couplet.predicting.writers import decisions_path, head_path, opened
from couplet.project.console import complain, progress, say
from couplet.project.errors import UserError
from couplet.results.calibrated import UNKNOWN
from couplet.running.engine import WANTED, on_ray
from couplet.settings.schema.train import TrainParams

SOME_REFUSED = 3  # exit code: every input has a row, and some rows have no numbers


@dataclass(frozen=True)
class Request:
    """What was asked for on the command line."""

    inputs: Sequence[Path]
    model: Path
    out: Path
    ids: Ids = "name"
    by: Literal["image", "study"] = "image"
    maps: Path | None = None
    overlay: bool = False
    html: Path | None = None
    unsuitable: Literal["refuse", "predict"] = "refuse"
    view: str = ""
    engine: Literal["torch", "onnx", "openvino"] = "torch"
    known: Sequence[str] = ()

    @property
    def in_parts(self) -> bool:
        """Whether the output is a folder of parts."""
        return not self.out.suffix

    @property
    def outputs(self) -> list[Path]:
        """What is written."""
        beside = {".csv": decisions_path, ".jsonl": head_path}.get(self.out.suffix)
        places = [self.out, beside(self.out) if beside else None, self.maps, self.html]
        return [place for place in places if place is not None]


def predict_or_say_why(request: Request, train: TrainParams) -> int:
    """`predict`, with a line that fits where a disk is full or somebody interrupts.

    Raises:
        UserError: as `predict`, or a file cannot be written.
    """
    try:
        return predict(request, train)
    except OSError as error:
        name = error.filename2 or error.filename  # of a rename the target: the source is a temporary file
        where = f" ({name})" if name else ""
        raise UserError(f"{error.strerror}{where}: mend that, then run `couplet predict` again") from None
    except KeyboardInterrupt:
        complain("interrupted: no file was replaced; a folder of parts goes on where it was")
        raise SystemExit(128 + signal.SIGINT) from None


def predict(request: Request, train: TrainParams) -> int:
    """Predict the inputs, and write a row for each of them.

    Returns:
        0, or SOME_REFUSED.

    Raises:
        UserError: nothing can be predicted or written; nothing is replaced.
    """
    refuse_contradictions(request)
    inputs = find_inputs(request.inputs, request.ids)
    refuse_overwriting(inputs, request.inputs, request.outputs)
    source = Source(request.model, request.engine, tuple(request.known), train.threads)
    ensemble = source.load()
    say_what_is_read(inputs, ensemble, request)
    options = Options(
        request.ids,
        request.unsuitable,
        with_study=request.by == "study",
        view=request.view,
        maps=request.maps is not None or request.html is not None,
    )
    counts = (
        in_parts(request, inputs, ensemble, options, source)
        if request.in_parts
        else whole(request, inputs, ensemble, options)
    )
    n_rows = sum(counts.values())
    refused = "".join(f", {counts[name]:,} {name}" for name in ("unsuitable", "unreadable") if counts[name])
    say(f"{request.out}: {n_rows:,} rows, {counts['ok']:,} ok{refused}")
    return 0 if counts["ok"] == n_rows else SOME_REFUSED


def whole(request: Request, inputs: Inputs, ensemble: Ensemble, options: Options) -> Counter[str]:
    """Write all rows to one file, and their maps and page; the number of rows of each status."""
    counts: Counter[str] = Counter()
    head = head_of(ensemble, request.by)
    with ExitStack() as files:
        writer = files.enter_context(opened(request.out, ensemble, head, f"{request.by}_id"))
        page = files.enter_context(opened_page(request.html, ensemble, head)) if request.html else None
        remarks = iter(remarks_on_dicom(ensemble.image.rendering, ensemble.image.sources))
        rows = finished_rows(request, ensemble, inputs.files, options, remarks)
        if page is not None:
            rows = page.seen(rows)
        for row in study_rows(rows) if request.by == "study" else rows:
            counts[row.status] += 1
            writer.write(row)
    return counts


def in_parts(
    request: Request, inputs: Inputs, ensemble: Ensemble, options: Options, source: Source
) -> Counter[str]:
    """Write a folder of parts, here or by Ray's tasks; the number of rows of each status."""
    remarks = iter(remarks_on_dicom(ensemble.image.rendering, ensemble.image.sources))

    def rows_of(files: Sequence[Input]) -> Iterator[Row]:
        return finished_rows(request, ensemble, files, options, remarks)

    if on_ray():
        work = Work(source, options, request.maps, request.overlay)
        made = partial(made_by_tasks, work=work, ensemble=ensemble, remarks=remarks)
    else:
        made = partial(made_here, rows_of=rows_of, ensemble=ensemble)
    counts: Counter[str] = Counter()
    for part in write_parts(request.out, inputs.files, ensemble, options, made):
        counts.update(part)
    return counts


def finished_rows(
    request: Request, ensemble: Ensemble, files: Sequence[Input], options: Options, remarks: Iterator[str]
) -> Iterator[Row]:
    """The rows of some files, their maps written where they are asked for.

    A bar or lines say how far it is; with the first DICOM the remarks are said, and then there are none left.
    """
    for row in predicted_rows(ensemble, progress(files, "predict"), options):
        if row.facts.get("photometric"):
            for line in remarks:
                say(line)
        if request.maps is not None:
            write_maps(request.maps, row, ensemble.labels, request.overlay)
        yield row


def refuse_contradictions(request: Request) -> None:
    """Raise UserError where two of the options cannot be had together."""
    if request.overlay and request.maps is None:
        raise UserError("--overlay draws what --maps writes: name a folder with --maps")
    if request.engine != "torch" and request.maps is not None:
        raise UserError(f"--maps needs the networks themselves: leave --engine {request.engine} out")
    if request.in_parts and (request.by == "study" or request.html is not None):
        what = "--by study" if request.by == "study" else "--html"
        raise UserError(f"{what} needs all rows in one file: give --out an ending, .csv, .json or .jsonl")
    if request.html is not None and request.html.suffix not in (".html", ".htm"):
        raise UserError(f"--html {request.html}: the ending should be .html")


def say_what_is_read(inputs: Inputs, ensemble: Ensemble, request: Request) -> None:
    """Say what one should know before the numbers are there."""
    skipped = f"; {inputs.n_skipped:,} other files are passed over" if inputs.n_skipped else ""
    say(f"{len(inputs.files):,} files to predict by {len(ensemble.folds)} folds of {request.model}{skipped}")
    if request.ids == "name":
        names = Counter(file.name for file in inputs.files)
        twice = sum(n > 1 for n in names.values())
        if twice:
            say(
                f"{twice:,} names stand for several files: rows are in the order of the inputs (or use --id digest)"
            )
    if ensemble.conformal is not None:
        known = ", ".join(str(name) for name in ensemble.conformal.categories)
        if request.view and ensemble.category(request.view, "") == UNKNOWN:
            raise UserError(f"--view {request.view}: the model's sets know {known}")
        if ensemble.views_matter and not request.view:
            say(
                f"files that do not say their view get no decision (2, both, for each label); --view names it: {known}"
            )
    if on_ray() and not request.in_parts:
        say(
            f"{WANTED} shares out the parts of a folder (--out without an ending): one file is made by this process"
        )
    if request.html is not None and len(inputs.files) > MOST_PICTURES:
        say(f"{request.html} shows the first {MOST_PICTURES:,} pictures")
