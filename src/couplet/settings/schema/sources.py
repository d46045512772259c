"""Names that settings of data sets share: adapters, and what unknown labels mean."""

from __future__ import annotations

from typing import Literal, get_args

Policy = Literal["ignore", "zeros", "ones"]
Source = Literal[
    "phantom",
    "grand_xray_slam",
    "nih",
    "chexpert",
    "mimic_cxr_jpg",
    "vindr_cxr",
    "rsna_pneumonia",
    "padchest",
    "brax",
    "openi",
    "ranzcr_clip",
    "csv",
    "coco",
    "combined",
]
SOURCES: tuple[str, ...] = get_args(Source)
