"""Class activation maps as files: arrays for programs, pictures for people."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from couplet.predicting.rows import Row
from couplet.project.errors import UserError
from couplet.project.files import write_bytes, write_npz

SIDE, COLUMNS = 224, 5  # of a tile of a picture, in pixels; tiles in a row


def write_maps(folder: Path, row: Row, labels: list[str], overlay: bool) -> None:
    """Write <digest>.npz with `maps` float16 (L, h, w) and `labels`; with `overlay` <digest>.png, a tile per label.

    Both are named by the file's content, and hold nothing of its metadata.

    Raises:
        UserError: the model's head has no maps.
    """
    if row.maps is None or row.pixels is None:
        if row.pixels is not None:
            raise UserError(
                "--maps: this model's head, backbone or chain of networks (model.levels) has no class activation maps: "
                "leave --maps out"
            )
        return
    write_npz(folder / f"{row.digest}.npz", {"maps": row.maps.astype(np.float16), "labels": np.array(labels)})
    if overlay:
        from couplet.reporting.pictures import montage
        from couplet.reporting.pictures import overlay as laid_over

        values = row.raw if row.q is None else row.q
        assert values is not None
        captions = [f"{name[:22]} {value:.0%}" for name, value in zip(labels, values, strict=True)]
        tiles = [laid_over(row.pixels, activation, SIDE) for activation in row.maps]
        write_bytes(folder / f"{row.digest}.png", montage(tiles, captions, COLUMNS, SIDE))
