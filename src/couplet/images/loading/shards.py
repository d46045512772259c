"""The files of the store, read by place (`pread`) from any number of threads; at most OPEN_FILES of them are open.

They are not mapped into memory. Mapped pages count as this process's memory, which would grow with the store (1.4 GB
after 8,192 images of 416 pixels), and a file that is cut short while it is mapped kills the process with a signal. A
map would save a few microseconds for each image that has been read before. From a cold disk large images come faster
without it, because the kernel is told which images of a batch follow before the first one is read
(benchmarks/codec.py).

A million images are more shards than a process may have files open (often 1,024, 256 on macOS). At OPEN_FILES the file
that was opened first is closed; the next read of it opens it again. Closing the least recently used one instead would
need a lock and a note for every read, and would gain little, because an epoch reads the shards in random order.
"""

from __future__ import annotations

import errno
import io
import os
import warnings
import weakref
from collections import deque
from pathlib import Path

import numpy as np

from couplet.images.codec import FILES, decode_jpeg, shard_name
from couplet.project.errors import UserError
from couplet.project.project import HERE
from couplet.settings.schema.image import Codec

Shape = tuple[int, int, int]
HEADER_BYTES = 4096  # enough for the header of any .npy file of ours, which says where it ends itself
OPEN_FILES = 128  # in this process, of all its stores


class RawShard:
    """images-00000.npy: pixels, read straight into the caller's array."""

    def __init__(self, path: Path, n: int, shape: Shape) -> None:
        self._file = _File(path)
        self._start = self._file.array_start("|u1", (n, *shape))
        self._length = int(np.prod(shape))

    def announce(self, row: int) -> None:
        """Let the kernel read ahead what will be wanted soon."""
        self._file.announce(self._start + row * self._length, self._length)

    def read_into(self, row: int, pixels: np.ndarray) -> None:
        """Fill uint8 `pixels` (C, S, S) with the image in this row."""
        self._file.read_into(pixels.data, self._start + row * self._length)


class JpegShard:
    """images-00000.jpegs: streams, and their index, which is kept in memory: 8 bytes per image."""

    def __init__(self, path: Path, index_path: Path, n: int, shape: Shape) -> None:
        self._file, index = _File(path), _File(index_path)
        offsets = np.empty(n + 1, dtype="<u8")
        index.read_into(offsets.data, index.array_start(offsets.dtype.str, offsets.shape))
        if offsets[0] != 0 or (offsets[1:] <= offsets[:-1]).any():
            raise index.refused("is damaged")
        if offsets[-1] != self._file.length:
            raise self._file.refused(f"is truncated, or {index_path.name} belongs to another file")
        self._offsets = offsets
        self._kind = f"{shape[1]} x {shape[2]} in {'grey' if shape[0] == 1 else 'colour'}"

    def announce(self, row: int) -> None:
        """Let the kernel read ahead what will be wanted soon."""
        self._file.announce(*self._place(row))

    def read_into(self, row: int, pixels: np.ndarray) -> None:
        """Fill uint8 `pixels` (C, S, S) with the image in this row."""
        offset, length = self._place(row)
        stream = bytearray(length)
        self._file.read_into(memoryview(stream), offset)
        try:
            decode_jpeg(stream, pixels)
        except ValueError:
            raise self._file.refused(f"is damaged: its image {row} is no JPEG of {self._kind}") from None

    def _place(self, row: int) -> tuple[int, int]:
        offset, end = self._offsets[row : row + 2].tolist()
        return offset, end - offset


Shard = RawShard | JpegShard


def open_shard(folder: Path, index: int, codec: Codec, n: int, shape: Shape) -> Shard:
    """Open a shard of n images of `shape` (C, S, S).

    Raises:
        UserError: a file is missing, truncated, or holds something else.
    """
    path, *index_path = (folder / shard_name(index, ending) for ending in FILES[codec])
    return JpegShard(path, index_path[0], n, shape) if codec == "jpeg" else RawShard(path, n, shape)


class _Descriptor:
    """An open file, which is closed when the last thread that reads it lets go."""

    def __init__(self, path: Path) -> None:
        self.number = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self.number).atexit = False
        self.status = os.fstat(self.number)

    @property
    def identity(self) -> tuple[int, int, int, int]:
        """What tells this file from another one that was put in its place."""
        status = self.status
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


class _File:
    """A file that is read by place: it has no position that two readers could move."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._identity: tuple[int, int, int, int] | None = None
        self._descriptor: _Descriptor | None = None
        self.length = self._opened().status.st_size

    def _opened(self) -> _Descriptor:
        """Open the file. Whoever holds the result can read it, also when another thread lets go of it here."""
        try:
            descriptor = _open(self.path)
        except FileNotFoundError:
            raise self.refused("is not there") from None
        if self._identity not in (None, descriptor.identity):
            raise UserError(f"{self.path} was replaced while it was being read: start again")
        self._identity, self._descriptor = descriptor.identity, descriptor
        _open_files.append(weakref.ref(self))
        _close_first(OPEN_FILES)
        return descriptor

    def let_go(self) -> None:
        """Close the file, now or when the threads that read it are done; the next read opens it again."""
        self._descriptor = None

    def refused(self, what: str) -> UserError:
        """An error that says what is wrong with the file, and what mends it."""
        folder = self.path.parent
        remedy = f"restore it with `dvc checkout {folder}`, or make it again with `dvc repro -f prepare`"
        return UserError(f"{self.path} {what}: {remedy}")

    def array_start(self, dtype: str, shape: tuple[int, ...]) -> int:
        """Where the values of this .npy file begin, which must be of this type and shape."""
        header = bytearray(min(HEADER_BYTES, self.length))
        self.read_into(memoryview(header), 0)
        try:
            found, start = _read_header(header)
        except Exception:  # NumPy's parser raises nearly anything on damaged input
            raise self.refused("is truncated or damaged") from None
        wanted = f"{np.dtype(dtype)} {shape}"
        if found != wanted:
            raise self.refused(f"holds {found}, not {wanted} as {HERE.manifest.name} says")
        if self.length < start + np.prod(shape, dtype=np.int64) * np.dtype(dtype).itemsize:
            raise self.refused("is truncated or damaged")
        return start

    def announce(self, offset: int, length: int) -> None:
        if hasattr(os, "posix_fadvise"):
            descriptor = self._descriptor or self._opened()  # held here until the call is done
            os.posix_fadvise(descriptor.number, offset, length, os.POSIX_FADV_WILLNEED)

    def read_into(self, buffer: memoryview, offset: int) -> None:
        """Fill the buffer with what stands from `offset` on."""
        descriptor = self._descriptor or self._opened()  # held here until the read is done
        try:
            n_read = os.preadv(descriptor.number, [buffer], offset)
        except OSError as error:
            error.filename = str(self.path)
            raise
        if n_read != buffer.nbytes:
            raise self.refused("is truncated or damaged")


# In the order in which they were opened. Appending and taking the first are atomic: no lock that a fork could copy.
_open_files: deque[weakref.ref[_File]] = deque()


def _open(path: Path) -> _Descriptor:
    try:
        return _Descriptor(path)
    except OSError as error:
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            raise
    _close_first(0)  # the process may have fewer files than OPEN_FILES
    return _Descriptor(path)


def _close_first(n_kept: int) -> None:
    """Close the files that were opened first, so that `n_kept` are left."""
    while len(_open_files) > n_kept:
        try:
            file = _open_files.popleft()()
        except IndexError:  # another thread took the last
            return
        if file is not None:
            file.let_go()


def _read_header(content: bytearray) -> tuple[str, int]:
    """Type and shape of a .npy file in words, and where its values begin."""
    file = io.BytesIO(content)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("a version that is not written here")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of files that Python 2 wrote: none of ours
        shape, in_columns, dtype = np.lib.format.read_array_header_1_0(file)
    if in_columns:
        raise ValueError("an order that is not written here")
    return f"{dtype} {shape}", file.tell()
