"""From files to rows: decoded in threads as `prepare` decodes, predicted in batches of a fixed size, in order."""

from __future__ import annotations

import errno
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np

from couplet.images.codec import decode_jpeg, encode, workers_wanted
from couplet.images.decoding.decode import (
    MAX_BYTES,
    Picture,
    UnreadableImage,
    UnsuitableImage,
    decode_picture,
)
from couplet.images.decoding.pool import ordered_map
from couplet.inference.trained import Ensemble, ImageWay
from couplet.predicting.inputs import Ids, Input, digest_of, id_of
from couplet.project.files import sha256_of
from couplet.results.predictions import refuse_not_finite

Status = Literal["ok", "unsuitable", "unreadable"]


@dataclass(frozen=True)
class Options:
    """How rows are made.

    Attributes:
        ids: what rows are called.
        unsuitable: whether pictures of another kind than the model's get numbers too.
        with_study: whether the digest of the study is wanted.
        view: of pictures whose file does not say theirs, as the data set writes it.
        maps: whether class activation maps are wanted.
    """

    ids: Ids = "name"
    unsuitable: Literal["refuse", "predict"] = "refuse"
    with_study: bool = False
    view: str = ""
    maps: bool = False


@dataclass(frozen=True)
class Row:
    """One input: what it is, and the ensemble's numbers for it, where it has any.

    Attributes:
        id: what it is called.
        status, reason: ok without a reason, or why not.
        facts: width, height, and what the file says of the picture; never of the person.
        digest: first 16 hex digits of the content's SHA-256; empty if the file cannot be opened.
        study: digest of the study, or empty.
        pixels: uint8 (C, S, S) as in the store, or None.
        category: of its sets.
        by_fold: (K, L); raw, q: (L,); decision: (L,) int8; maps: (L, h, w) float32. None where there is none.
    """

    id: str
    status: Status
    reason: str
    facts: dict[str, Any]
    digest: str
    study: str = ""
    pixels: np.ndarray | None = None
    category: str = ""
    by_fold: np.ndarray | None = None
    raw: np.ndarray | None = None
    q: np.ndarray | None = None
    decision: np.ndarray | None = None
    maps: np.ndarray | None = None


def predicted_rows(
    ensemble: Ensemble, files: Iterable[Input], options: Options, threads: int | None = None
) -> Iterator[Row]:
    """One row per input, in order; only a batch of them and what is decoded ahead is in memory.

    Batches are filled with pictures that get numbers, so that a row depends on no other but through where its batch
    begins.

    Args:
        ensemble: that predicts.
        files: the inputs.
        options: how rows are made.
        threads: that decode; by default those that `workers_wanted` says. No row follows from their number.

    Raises:
        UserError: the model gives numbers that are not finite.
    """
    read = partial(read_input, ensemble, options)
    waiting: list[Row] = []
    n_pictures = 0
    with warnings.catch_warnings(), ordered_map(read, threads or workers_wanted()) as rows:
        # Pillow's warnings about metadata: `decode_picture` raises for whatever affects pixels.
        warnings.simplefilter("ignore")
        for row in rows(files):
            waiting.append(row)
            n_pictures += row.pixels is not None
            if n_pictures == ensemble.batch_size or not n_pictures:
                yield from _filled(ensemble, waiting, options)
                waiting, n_pictures = [], 0
    yield from _filled(ensemble, waiting, options)


def read_input(ensemble: Ensemble, options: Options, file: Input) -> Row:
    """A row without numbers; with pixels if it is to get some."""
    try:
        if file.path.stat().st_size > MAX_BYTES:
            digest = sha256_of(file.path)[:16]
            return _refused(file, options, digest, "unreadable", f"the file has more than {MAX_BYTES} bytes")
        content = file.path.read_bytes()
    except OSError as error:
        reason = (
            f"the file cannot be read ({error.strerror or errno.errorcode.get(error.errno or 0, 'error')})"
        )
        return _refused(file, options, "", "unreadable", reason)
    digest, way = digest_of(content), ensemble.image
    try:
        picture = decode_picture(
            content,
            way.store_size,
            way.channels,
            way.rendering,
            name=file.name,
            body_parts=way.body_parts,
            allow_unsuitable=options.unsuitable == "predict",
            with_study=options.with_study,
        )
    except UnreadableImage as error:
        return _refused(file, options, digest, "unreadable", str(error))
    except UnsuitableImage as error:
        return _refused(file, options, digest, "unsuitable", str(error))
    return _as_row(ensemble, options, file, digest, picture)


def stored_pixels(pixels: np.ndarray, way: ImageWay) -> np.ndarray:
    """The pixels (C, S, S) that the store would give back for them."""
    if way.codec == "raw":
        return pixels
    stored = np.empty_like(pixels)
    decode_jpeg(encode(pixels, way.codec), stored)
    return stored


def _as_row(ensemble: Ensemble, options: Options, file: Input, digest: str, picture: Picture) -> Row:
    facts = picture.facts
    reason = picture.unsuitable
    if not reason and facts.view == "lateral" and not ensemble.image.lateral:
        reason = "a lateral view, the model has seen frontal ones only"
    row = Row(
        id=id_of(file, options.ids, digest),
        status="unsuitable" if reason else "ok",
        reason=reason,
        facts={
            "width": picture.width,
            "height": picture.height,
            "view": facts.view_position or facts.view or options.view or None,
            "rendering": facts.rendering or None,
            "photometric": facts.photometric or None,
            "burned_in": facts.burned_in,
            "orientation": facts.orientation or None,
        },
        digest=digest,
        study=facts.study,
        category=ensemble.category(facts.view_position or options.view, facts.view),
    )
    if reason and options.unsuitable == "refuse":
        return row
    return replace(row, pixels=stored_pixels(picture.pixels, ensemble.image))


def _refused(file: Input, options: Options, digest: str, status: Status, reason: str) -> Row:
    return Row(id_of(file, options.ids, digest), status, reason, {}, digest)


def _filled(ensemble: Ensemble, rows: list[Row], options: Options) -> Iterator[Row]:
    """The rows with their numbers; all pictures among them are one batch."""
    pictures = [row for row in rows if row.pixels is not None]
    if pictures:
        images = np.stack([row.pixels for row in pictures if row.pixels is not None])
        numbers = ensemble.predict(images, np.array([row.category for row in pictures]))
        refuse_not_finite("the model", np.array([row.id for row in pictures]), ensemble.labels, numbers.raw)
        maps = ensemble.engine.maps(images) if options.maps else None
    position = 0
    for row in rows:
        if row.pixels is None:
            yield row
            continue
        i = position
        position += 1
        yield replace(
            row,
            by_fold=numbers.by_fold[:, i],
            raw=numbers.raw[i],
            q=None if numbers.q is None else numbers.q[i],
            decision=None if numbers.decision is None else numbers.decision[i],
            maps=None if maps is None else maps[i],
        )
