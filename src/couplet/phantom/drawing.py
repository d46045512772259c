"""The embedded data set: drawn X-ray-like pictures in the layout of Grand X-Ray SLAM's division B.

Everything follows from the seed and nothing else, byte by byte: an inventory of file digests can be committed. Drawn
pictures show that a pipeline works and what each finding looks like; they say nothing about patients.
"""

from __future__ import annotations

import errno
import multiprocessing
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame
from PIL import Image

from couplet.datasets.grand_xray_slam import ID, LABELS, PEOPLE
from couplet.phantom.anatomy import Build
from couplet.phantom.cohort import Patient, Study, draw_cohort
from couplet.phantom.picture import VIEWS, draw_picture, draw_signs
from couplet.phantom.streams import Stream
from couplet.project.console import MACHINE_FAULTS, progress
from couplet.project.errors import UserError
from couplet.project.files import is_running, naming, write_csv, write_json
from couplet.running.memory import keep_freed_memory

JPEG_QUALITY = 90
Row = tuple[str | float | None, ...]  # one line of a table: PEOPLE, then a 0 or 1 per label
WORTH_HELPERS = 200  # patients: fewer are drawn in the time that a helper needs to start
MOST_HELPERS = 7
# Seconds: on a file system that hosts share, an older unfinished folder is nobody's.
LONGEST_DRAWING = 24 * 3600
FAULT = 64  # a helper that met a fault of the machine ends with this and the errno as its exit code
# What a stream is for: the first number after the seed. (0 is the cohort's.)
_BUILD, _SIGNS, _EXPOSURE, _ORDER, _EXAMPLE = 1, 2, 3, 4, 5


def draw_phantom(
    folder: Path,
    n_patients: int = 800,
    size: int = 112,
    seed: int = 42,
    film: float = 1.0,
    prevalence: Mapping[str, float] | None = None,
    first_patient: int = 0,
    notes: Mapping[str, object] | None = None,
) -> None:
    """Draw the data set into `folder`, which appears complete or not at all.

    Where another process draws into the same folder at once, the first one's appears and stays as it is.

    Args:
        folder: must not exist yet, or be empty.
        n_patients: in training and test part together; about 2.5 images each.
        size: side of the square grey pictures, in pixels.
        seed: the same seed gives the same bytes.
        film: as `couplet.phantom.film.expose` takes it: 1 is the usual film, above it pictures are darker.
        prevalence, first_patient: as `draw_cohort` takes them.
        notes: what to write as JSON, by the name of its file in the folder.

    Raises:
        UserError: the folder holds something already.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"{folder} is not empty: remove it to have the phantom drawn again")
    own = f".{folder.name}.{platform.node()}"
    unfinished = folder.with_name(f"{own}.{os.getpid()}.drawing")
    for left in folder.parent.glob(f".{folder.name}.*.drawing"):
        if left == unfinished or _is_abandoned(left, own):
            shutil.rmtree(left, ignore_errors=True)
    try:
        for part in ("train2", "test2"):
            (unfinished / part).mkdir(parents=True)
        cohort = draw_cohort(n_patients, seed, prevalence=prevalence, first_patient=first_patient)
        shares = _processes() if n_patients >= WORTH_HELPERS else 1
        main = os.getpid()

        keep_freed_memory()  # the helpers take it over

        def draw(share: int) -> None:
            _draw_share(unfinished, cohort, share, shares, size, seed, film, main)

        with _helpers(draw, range(1, shares)):
            draw(0)
        rows = [(_part(patient), *row) for patient in cohort for row, *_ in _exposures(patient)]
        _write_tables(unfinished, DataFrame(rows, columns=["part", *PEOPLE, *LABELS]), seed)
        for name, content in (notes or {}).items():
            write_json(unfinished / name, content)
        try:
            unfinished.replace(folder)
        except OSError as error:
            # Another process has drawn meanwhile. Whether with the same settings is said by what stands in the folder.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _is_abandoned(unfinished: Path, own: str) -> bool:
    """Whether nobody draws into this folder any more; a process of another host cannot be asked, so its age decides."""
    host, _, process = unfinished.name.removesuffix(".drawing").rpartition(".")
    if host == own:
        return not is_running(process)
    return time.time() - unfinished.stat().st_mtime > LONGEST_DRAWING


def draw_image(findings: frozenset[str], view: str, seed: int, size: int = 112) -> NDArray[np.uint8]:
    """One picture (size, size) of grey levels, without a cohort: for examples and tests.

    The same seed gives the same patient, position and exposure, whatever the findings.

    Raises:
        ValueError: a finding or view that the phantom does not know.

    >>> healthy = draw_image(frozenset(), "PA", seed=1)
    >>> enlarged = draw_image(frozenset({"Cardiomegaly"}), "PA", seed=1)
    >>> healthy.shape, bool(enlarged.mean() > healthy.mean())
    ((112, 112), True)
    """
    if unknown := sorted(findings - set(LABELS)):
        raise ValueError(f"unknown finding {unknown[0]!r}: it should be one of {', '.join(LABELS)}")
    if view not in VIEWS:
        raise ValueError(f"unknown view {view!r}: it should be one of {', '.join(VIEWS)}")
    woman, age = Stream(seed, _EXAMPLE).uniforms(2).tolist()
    build = Build.draw(Stream(seed, _BUILD, 0), female=woman < 0.5, age=20.0 + 65.0 * age)
    signs = draw_signs(Stream(seed, _SIGNS, 0, 1))
    present = {label: signs[label] for label in LABELS if label in findings}
    return draw_picture(build, present, view, Stream(seed, _EXPOSURE, 0, 1, 1), size)


def _part(patient: Patient) -> str:
    return "test2" if patient.test else "train2"


def _exposures(patient: Patient) -> Iterator[tuple[Row, Study, str, int]]:
    """Each picture of a patient: its line of the table, its study, its view and its number in the study."""
    sex = ("Female" if patient.female else "Male") if patient.sex_known else None
    age = patient.age if patient.age_known else None
    for study in patient.studies:
        labels = [int(label in study.positives) for label in LABELS]
        for number, view in enumerate(study.views, start=1):
            name = f"{patient.number:08d}_{study.number:03d}_{number:03d}.jpg"
            category = "Lateral" if view == "Lateral" else "Frontal"
            yield (
                (name, patient.number, study.number, sex, age, category, view, *labels),
                study,
                view,
                number,
            )


def _draw_share(
    folder: Path,
    cohort: list[Patient],
    share: int,
    shares: int,
    size: int,
    seed: int,
    film: float,
    main: int,
) -> None:
    """Draw every `shares`-th patient, beginning with number `share`; `main` is the process that draws share 0."""
    positions = range(share, len(cohort), shares)
    for position in progress(positions, "drawing the phantom") if share == 0 else positions:
        if share and os.getppid() != main:
            return  # the process that wanted the pictures was killed
        patient = cohort[position]
        build = Build.draw(Stream(seed, _BUILD, position), patient.female, patient.age)
        for row, study, view, number in _exposures(patient):
            if number == 1:  # all pictures of a study show the same
                signs = draw_signs(Stream(seed, _SIGNS, position, study.number))
            present = {label: signs[label] for label in LABELS if label in study.positives}
            stream = Stream(seed, _EXPOSURE, position, study.number, number)
            picture = draw_picture(build, present, view, stream, size, film)
            path = folder / _part(patient) / str(row[0])
            with naming(path):
                path.write_bytes(_jpeg(picture))


def _processes() -> int:
    """How many processes may draw: one per CPU that this one may use, where processes can be forked safely."""
    return 1 + min(len(os.sched_getaffinity(0)) - 1, MOST_HELPERS) if sys.platform == "linux" else 1


@contextmanager
def _helpers(draw: Callable[[int], None], shares: Iterable[int]) -> Iterator[None]:
    """A process for each of `shares` that draws it; all have ended well when the block is left.

    Raises:
        OSError: one of them could not write.
        UserError: one of them ended early.
    """

    def help_drawing(share: int) -> None:
        try:
            draw(share)
        except OSError as error:
            raise SystemExit(FAULT + (error.errno or 0)) from None  # raised again by `_helpers`
        except KeyboardInterrupt:
            raise SystemExit(FAULT) from None

    context = multiprocessing.get_context("fork")
    helpers = [context.Process(target=help_drawing, args=(share,), daemon=True) for share in shares]
    try:
        for helper in helpers:
            helper.start()
        yield
        for helper in helpers:
            helper.join()
        for code in [helper.exitcode for helper in helpers if helper.exitcode]:
            if code - FAULT in MACHINE_FAULTS:
                raise OSError(code - FAULT, os.strerror(code - FAULT), "a picture of the phantom")
            raise UserError("a process that drew the phantom ended early (out of memory?): run it again")
    finally:
        for helper in helpers:
            if helper.pid is not None:
                helper.kill()
                helper.join()


def _jpeg(picture: NDArray[np.uint8]) -> bytes:
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def _write_tables(folder: Path, table: DataFrame, seed: int) -> None:
    """train2.csv, test2.csv (a phantom knows its answers) and the sample submission, which is in no order."""
    for part in ("train2", "test2"):
        write_csv(folder / f"{part}.csv", table.loc[table["part"] == part, [*PEOPLE, *LABELS]])
    sample = table.loc[table["part"] == "test2", [ID, *LABELS]]
    sample = sample.assign(**dict.fromkeys(LABELS, 0))
    order = np.argsort(Stream(seed, _ORDER).uniforms(len(sample)), kind="stable")
    write_csv(folder / "sample_submission_2.csv", sample.iloc[order])
