"""Packed stores made up of given images, written as `prepare` writes them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd

from couplet.images.codec import encode
from couplet.images.decoding.writing import Encoded, NewShard, Stored
from couplet.images.loading.store import ImageStore
from couplet.project.files import write_csv, write_json
from couplet.project.project import HERE
from couplet.settings.schema.image import Codec


def write_store(folder: Path, images: Iterable[np.ndarray], codec: Codec = "raw") -> ImageStore:
    """A store of one shard: up to 4,096 images (C, S, S), taken one by one. The folder may exist."""
    folder.mkdir(exist_ok=True)
    first = next(stream := iter(images))
    shape = first.shape
    shard = NewShard(folder / "shard", codec)
    written = list(
        shard.write(
            (Encoded(Stored(0, 0, ""), encode(pixels, codec)) for pixels in chain([first], stream)), shape
        )
    )
    shard.link_into(folder, 0)
    write_csv(folder / HERE.manifest.name, pd.DataFrame({"shard": 0, "row": range(len(written))}))
    layout = {"channels": shape[0], "store_size": shape[-1], "codec": codec}
    write_json(folder / HERE.labels.name, {"image": layout})
    return ImageStore(folder)
