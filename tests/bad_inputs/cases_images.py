"""Image files and their names."""

from __future__ import annotations

import io
import os
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

from tests.bad_inputs.case import Case, Given, both, cut, file, folder, link, removed, replaced, setting
from tests.bad_inputs.healthy import picture
from tests.support.dicoms import dicom, lut
from tests.support.in_process import InProcessProject
from tests.support.tiffs import tiff

IMAGE = "{raw}/images/03.png"
QUARTERS = [20, 90, 160, 230]
SQUARE = np.kron([[20, 90], [160, 230]], np.ones((32, 32))).astype(np.uint8)  # its four quarters are flat
UNKNOWN = "the file is no image of a known format (JPEG, PNG, TIFF, BMP, GIF, WEBP, JPEG2000, PPM, DICOM)"
FLAT = [Image.new("L", (64, 64), grey) for grey in (40, 200)]


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, more: bytes = b"") -> bytes:
    """A PNG that says it is this large, with hardly any data."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header) + more + chunk(b"IDAT", zlib.compress(bytes(110))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def quarantined(name: str, given: Given, reason: str) -> Case:
    return Case(name, given, happens="quarantined, counted, in the report", quarantined={"03.png": reason})


def read(name: str, content: bytes, quarters: list[int], size: str = "64 x 64", how: str = "read") -> Case:
    finds = {("quarters", "03.png"): quarters, ("size", "03.png"): size}
    return Case(name, file(IMAGE, content), happens=how, finds=finds)


def renamed(name: str) -> Given:
    """Give 03.png another name, in the table too."""

    def rename(project: InProcessProject) -> None:
        (project.raw / "images/03.png").rename(project.raw / "images" / name)
        listed(name)(project)

    return rename


def listed(name: str) -> Given:
    """Let the table name another file instead of 03.png."""
    quoted = '"' + name.replace('"', '""') + '"'
    return replaced("{raw}/labels.csv", "03.png", quoted)


def unreadable(*numbers: int) -> Given:
    return both(*(file(f"{{raw}}/images/{i:02d}.png", b"") for i in numbers))


def deflated(content: bytes) -> bytes:
    """The same DICOM file, which says that it is deflated."""
    place = content.index(b"1.2.840.10008.1.2.1\0")
    return content[: place - 2] + struct.pack("<H", 22) + b"1.2.840.10008.1.2.1.99" + content[place + 20 :]


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(Image.fromarray(SQUARE[:, :48]), "JPEG", quality=100, exif=exif)


PLAIN = Image.fromarray(SQUARE)
TRANSPARENT = Image.merge("LA", (PLAIN, Image.new("L", (64, 64), 0)))
PALETTE = PLAIN.convert("RGB").quantize(4)
JPEG = encoded(picture(3), "JPEG")
PROGRESSIVE = encoded(picture(3), "JPEG", progressive=True)
WIDE_12 = np.repeat(SQUARE[..., None].astype("<u2") * 16, 3, axis=-1)  # 12 bits
TO_PNG = "convert it to 8-bit JPEG, or to 8- or 16-bit PNG (docs/datasets.md, Image files)"
TEXT_BOMB = chunk(b"zTXt", b"comment\0\0" + zlib.compress(bytes(10**8)))

FILM = SQUARE.astype(np.uint16) * 16  # 12 bits
J2K = encoded(PLAIN, "JPEG2000", no_jp2=True)
BOMB = J2K[:8] + struct.pack(">6I", 20_000, 20_000, 0, 0, 20_000, 20_000) + J2K[32:]
LOSSLESS, EXTENDED = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.51"
DICOM_REFUSED = [
    ("DICOM cut off in its header", dicom(FILM, 12)[:400], "it has no pixel data"),
    ("DICOM, deflated", deflated(dicom(FILM, 12)), "deflated files are not read: write it uncompressed"),
    (
        "DICOM that is a film",
        dicom(bytes(8), 8, "1.2.840.10008.1.2.4.102"),
        "transfer syntax 1.2.840.10008.1.2.4.102 is not read",
    ),
    (
        "DICOM of 12 bits in JPEG extended",
        dicom(bytes(8), 12, EXTENDED, Rows=64, Columns=64),
        "JPEG extended (12 bit) has no decoder with a free licence here: pip install pylibjpeg-libjpeg (GPL-3) adds one, or write the file losslessly",
    ),
    ("DICOM without a tag that is needed", dicom(FILM, 12, remove=("Rows",)), "Rows is missing"),
    ("DICOM whose NumberOfFrames is text", dicom(FILM, 12, NumberOfFrames="77").replace(b"77", b"x ", 1), "NumberOfFrames is no number"),
    ("DICOM whose bits lie elsewhere", dicom(FILM, 12, HighBit=15), "HighBit 15 does not fit 12 stored bits"),
    ("DICOM with a palette", dicom(FILM, 12, PhotometricInterpretation="PALETTE COLOR"), "PALETTE COLOR is no grey picture"),
    ("DICOM with a presentation LUT", dicom(FILM, 12, PresentationLUTSequence=lut(0, 16, [1, 2])), "a Presentation LUT Sequence is not applied"),
    ("DICOM that holds fractions", dicom(FILM, 12, FloatPixelData=bytes(8)), "float pixel data is not read"),
    ("DICOM of 32 bits", dicom(FILM.astype(np.uint32)), "32 of 32 bits are not read, at most 16 are"),
    (
        "DICOM around a code stream of another size, a decompression bomb",
        dicom(BOMB, 8, LOSSLESS, Rows=64, Columns=64),
        "the JPEG 2000 stream holds 20000 x 20000 pixels, the header says 64 x 64",
    ),
    ("DICOM cut short", dicom(FILM, 12, Rows=65), "the pixel data has 8192 bytes, 8320 are needed"),
    ("DICOM of one grey level", dicom(FILM * 0, 12), "the picture has one grey level only"),
    ("DICOM whose rescale is not finite", dicom(FILM, 12, RescaleSlope="1234").replace(b"1234", b"nan ", 1), "its rescaled values are not finite"),
    ("DICOM of several frames", dicom(FILM, 12, NumberOfFrames=30), "30 frames, single pictures are read"),
    ("DICOM of a CT slice", dicom(FILM, 12, Modality="CT"), "modality CT"),
    ("DICOM of the raw detector", dicom(FILM, 12, PresentationIntentType="FOR PROCESSING"), "raw detector data (FOR PROCESSING)"),
]  # fmt: skip

CASES = [
    quarantined("a file of zero bytes", file(IMAGE, b""), "the file is empty"),
    quarantined(
        "a file of one byte",
        file(IMAGE, b"\x89"),
        "the file is no image of a known format (JPEG, PNG, TIFF, BMP, GIF, WEBP, JPEG2000, PPM, DICOM)",
    ),
    quarantined("a file cut short", cut(IMAGE, 0.6), "image file is truncated"),
    quarantined("a JPEG cut short", file(IMAGE, JPEG[: len(JPEG) // 2]), "Truncated File Read"),
    quarantined(
        "a JPEG cut short and closed with an end marker",
        file(IMAGE, JPEG[: len(JPEG) * 3 // 4] + b"\xff\xd9"),
        "the JPEG data ends before the picture does: the file was cut short and closed with an end marker",
    ),
    quarantined(
        "a progressive JPEG without its last scans",
        file(IMAGE, PROGRESSIVE[: PROGRESSIVE.rindex(b"\xff\xda")] + b"\xff\xd9"),
        "some scans of the progressive JPEG are missing: the file was cut short and closed with an end marker",
    ),
    quarantined(
        "a TIFF without its lower half",
        file(IMAGE, tiff([SQUARE[:32].tobytes()], 64, 64, [8], 1)),
        "image file is truncated: some of its rows are missing",
    ),
    quarantined(
        "DICOM without a transfer syntax",
        file(IMAGE, bytes(128) + b"DICM" + bytes(500)),
        "the transfer syntax is missing",
    ),
    *(quarantined(name, file(IMAGE, content), reason) for name, content, reason in DICOM_REFUSED),
    Case(
        "a file named .dcm without the beginning of DICOM",
        both(file("{raw}/images/x.dcm", dicom(FILM)[132:]), removed(IMAGE), listed("x.dcm")),
        happens="quarantined, counted, in the report",
        quarantined={"x.dcm": "no DICOM preamble: rewrite the file with dcmconv"},
    ),
    quarantined(
        "a JPEG of 12 bits",
        file(IMAGE, JPEG.replace(b"\xff\xc0\0\x0b\x08", b"\xff\xc1\0\x0b\x0c", 1)),
        f"the file is JPEG of 12 bits a sample: {TO_PNG}",
    ),
    quarantined(
        "JPEG-LS",
        file(IMAGE, JPEG.replace(b"\xff\xc0", b"\xff\xf7", 1)),
        f"the file is JPEG-LS of 8 bits a sample: {TO_PNG}",
    ),
    quarantined(
        "a TIFF of 64-bit fractions",
        file(IMAGE, tiff([bytes(128)], 4, 4, [64], 1, format=3)),
        f"the file is TIFF of a kind that is not read (4 x 4, 1 x 64 bits, fractions, little-endian): {TO_PNG}",
    ),
    quarantined(
        "a text file named .png",
        file(IMAGE, "not an image\n" * 20),
        "the file is no image of a known format (JPEG, PNG, TIFF, BMP, GIF, WEBP, JPEG2000, PPM, DICOM)",
    ),
    quarantined(
        "a web page named .png",
        file(IMAGE, "<html><script>alert(1)</script></html>"),
        "the file is no image of a known format (JPEG, PNG, TIFF, BMP, GIF, WEBP, JPEG2000, PPM, DICOM)",
    ),
    quarantined(
        "a PostScript program named .png",
        file(IMAGE, "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
        "the file is no image of a known format (JPEG, PNG, TIFF, BMP, GIF, WEBP, JPEG2000, PPM, DICOM)",
    ),
    quarantined(
        "a pickle named .png",
        file(IMAGE, b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x02os."),
        "the file is no image of a known format (JPEG, PNG, TIFF, BMP, GIF, WEBP, JPEG2000, PPM, DICOM)",
    ),
    quarantined(
        "a decompression bomb: 50,000 x 50,000 pixels",
        file(IMAGE, png(50_000, 50_000)),
        "the image has more than 178956970 pixels",
    ),
    quarantined(
        "a decompression bomb in a text chunk",
        file(IMAGE, png(10, 10, TEXT_BOMB)),
        "Decompressed data too large for PngImagePlugin.MAX_TEXT_CHUNK",
    ),
    quarantined(
        "values that are not finite",
        file(IMAGE, encoded(Image.fromarray(np.array([[0, np.nan]], np.float32)), "TIFF")),
        "the image has values that are not finite",
    ),
    Case(
        "more unreadable images than data.max_unreadable allows",
        unreadable(*range(7)),
        refused="7 of 24 images cannot be read and data.max_unreadable = 0.25 allows 6: images/00.png (the file is empty); images/01.png (the file is empty); images/02.png (the file is empty); ... (all of them, with reasons: {project}/.scratch/prepare/quarantine.csv): replace them or take them out of the label table, then run `couplet scan`, or raise data.max_unreadable",
    ),
    Case(
        "no readable training image",
        both(setting("data.max_unreadable", 1.0), unreadable(*range(24))),
        refused="24 of 24 images cannot be read and no training image is left: images/00.png (the file is empty); images/01.png (the file is empty); images/02.png (the file is empty); ... (all of them, with reasons: {project}/.scratch/prepare/quarantine.csv): replace them or take them out of the label table, then run `couplet scan`, or raise data.max_unreadable",
    ),
    read("a JPEG named .png", encoded(PLAIN, "JPEG", quality=100), QUARTERS, how="read by its content"),
    read("CMYK", encoded(PLAIN.convert("CMYK"), "TIFF"), QUARTERS),
    read("16 bits", encoded(Image.fromarray(SQUARE.astype(np.uint16) * 257), "PNG"), QUARTERS),
    # 16 x 230 of 4,095 is 229.2 of 255.
    read(
        "12 bits in a 16-bit file",
        encoded(Image.fromarray(SQUARE.astype(np.uint16) * 16), "PNG"),
        [20, 90, 159, 229],
    ),
    read("12 bits in 16-bit colour", tiff([WIDE_12.tobytes()], 64, 64, [16] * 3, 2), [20, 90, 159, 229]),
    read(
        "a 16-bit TIFF in which white is zero",
        tiff([((255 - SQUARE.astype("<u2")) * 257).tobytes()], 64, 64, [16], 0),
        QUARTERS,
        how="read, and shown as meant",
    ),
    read("DICOM of 8 bits", dicom(SQUARE), QUARTERS),
    # 16 x 20 to 16 x 230, stretched.
    read("DICOM of 12 bits without a window", dicom(FILM, 12), [0, 85, 170, 255]),
    read(
        "a negative in DICOM (MONOCHROME1)",
        dicom(255 - SQUARE, PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE"),
        QUARTERS,
        how="read, and turned around once",
    ),
    read("1 bit", encoded(PLAIN.point(lambda grey: 255 * (grey > 100), "1"), "PNG"), [0, 0, 255, 255]),
    read("a palette", encoded(PALETTE, "PNG"), QUARTERS),
    read("transparency", encoded(TRANSPARENT, "PNG"), [0, 0, 0, 0], how="what is transparent becomes black"),
    read(
        "an animation",
        encoded(FLAT[0], "GIF", save_all=True, append_images=FLAT[1:]),
        [40] * 4,
        how="the first frame is read",
    ),
    read(
        "a TIFF of several pages",
        encoded(FLAT[0], "TIFF", save_all=True, append_images=FLAT[1:]),
        [40] * 4,
        how="the first page is read",
    ),
    read(
        "a picture that its EXIF data turns",
        turned(6),
        [160, 20, 230, 90],
        size="64 x 48",
        how="turned upright",
    ),
    read("1 x 1 pixel", encoded(Image.new("L", (1, 1), 77), "PNG"), [77] * 4, "1 x 1"),
    read("1 x 20,000 pixels", encoded(Image.new("L", (1, 20_000), 77), "PNG"), [77] * 4, "1 x 20000"),
    Case(
        "a file that is missing",
        removed(IMAGE),
        refused="{project}/data/raw/csv/labels.csv, row 5, column 'image': images/03.png is not in {project}/data/raw/csv: put the file there or take the row out of the table",
    ),
    Case(
        "a folder named like an image",
        folder(IMAGE),
        refused="{project}/data/raw/csv/labels.csv, row 5, column 'image': images/03.png is a folder, not an image: put the image file there",
    ),
    Case(
        "a pipe named like an image",
        both(removed(IMAGE), lambda project: os.mkfifo(project.raw / "images/03.png")),
        refused="{project}/data/raw/csv/labels.csv, row 5, column 'image': images/03.png is not a regular file: put the image file there",
    ),
    Case(
        "a link to nothing",
        link(IMAGE, "{raw}/images/gone.png"),
        refused="{project}/data/raw/csv/labels.csv, row 5, column 'image': images/03.png is a link to something that is not there: mend the link or put the file there",
    ),
    Case(
        "a link to itself",
        link(IMAGE, IMAGE),
        refused="{project}/data/raw/csv/labels.csv, row 5, column 'image': images/03.png is a link that leads to itself: mend the link or put the file there",
    ),
    Case(
        "a link out of the data folder",
        link(IMAGE, "/etc/hostname"),
        run="scan",
        refused="{project}/data/raw/csv/images/03.png is a link that leaves the data folder: link the whole data set as {project}/data/raw/csv",
    ),
    Case(
        "a linked folder out of the data folder",
        link("{raw}/more", "{project}/presets"),
        run="scan",
        refused="{project}/data/raw/csv/more is a link that leaves the data folder: link the whole data set as {project}/data/raw/csv",
    ),
    Case(
        "a link inside the data folder",
        link(IMAGE, "{raw}/images/02.png"),
        happens="followed",
        finds={("size", "03.png"): "40 x 40"},
    ),
    Case(
        "a path with ..",
        listed("../labels.csv"),
        refused="{project}/data/raw/csv/labels.csv, row 5, column 'image': '../labels.csv' is not a path inside the data folder: write it relative, with '/' and without '..'",
    ),
    Case(
        "an absolute path",
        listed("/etc/hostname"),
        refused="{project}/data/raw/csv/labels.csv, row 5, column 'image': '/etc/hostname' is not a path inside the data folder: write it relative, with '/' and without '..'",
    ),
    Case(
        "a path with backslashes",
        listed("..\\labels.csv"),
        refused="{project}/data/raw/csv/labels.csv, row 5, column 'image': '..\\\\labels.csv' is not a path inside the data folder: write it relative, with '/' and without '..'",
    ),
    Case(
        "a path with a drive letter",
        listed("C:/images/03.png"),
        refused="{project}/data/raw/csv/labels.csv, row 5, column 'image': 'C:/images/03.png' is not a path inside the data folder: write it relative, with '/' and without '..'",
    ),
    Case(
        "a name that begins with a dot",
        renamed(".03.png"),
        refused="{project}/data/raw/csv/labels.csv, row 5, column 'image': images/.03.png is hidden: names that start with a dot are not read, rename it",
    ),
    Case(
        "a name in another case",
        listed("03.PNG"),
        refused="{project}/data/raw/csv/labels.csv, row 5, column 'image': images/03.PNG is not in {project}/data/raw/csv, but 'images/03.png' is: write it exactly so, or rename the file",
    ),
    Case(
        "a name with spaces",
        renamed("a  b c.png"),
        happens="kept as it is",
        finds={("size", "a  b c.png"): "40 x 40"},
    ),
    Case(
        "a name with quotes",
        renamed('it\'s "03".png'),
        happens="kept as it is",
        finds={("size", 'it\'s "03".png'): "40 x 40"},
    ),
    Case(
        "a name with letters of other alphabets",
        renamed("肺 ü.png"),
        happens="kept as it is",
        finds={("size", "肺 ü.png"): "40 x 40"},
    ),
    Case(
        "a name with a line end in it",
        renamed("a\nb.png"),
        run="scan",
        refused="{project}/data/raw/csv: the file name 'images/a\\nb.png' holds control characters or is not UTF-8: rename it",
    ),
    Case(
        "a name that is not UTF-8",
        lambda p: (p.raw / "images/03.png").rename(p.raw / "images/\udcff.png"),
        run="scan",
        refused="{project}/data/raw/csv: the file name 'images/\\udcff.png' holds control characters or is not UTF-8: rename it",
    ),
    Case(
        "a name that is a formula",
        renamed("=HYPERLINK(1).png"),
        refused="{project}/data/raw/csv/labels.csv, row 5, column 'image': '=HYPERLINK(1).png' would be a formula in a spreadsheet: rename it, without = + - or @ in front",
    ),
    Case(
        "image files that no table lists",
        both(file("{raw}/images/new.png", encoded(PLAIN, "PNG")), file("{raw}/images/new.JPG", b"")),
        happens="not read, and counted",
        said=("csv: 24 images, 3 labels, image files not listed: 2",),
        finds={("entry", "data/prepared/labels.json", "notes"): {"image_files_not_listed": 2}},
    ),
]
