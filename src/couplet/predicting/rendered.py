"""How the PNG and JPEG of a data set were made of DICOM: what one must know who gives its model DICOM later."""

from __future__ import annotations

from collections.abc import Iterable

from couplet.settings.schema.image import Rendering

# Data sets whose makers say it: the windows of the headers, or histogram equalisation.
MADE_BY: dict[str, Rendering] = {"nih": "voi", "chexpert": "equalize", "mimic_cxr_jpg": "equalize"}
# Those whose makers do not. Of DICOM itself, and of a table of one's own, there is nothing to say.
NOT_SAID = ("grand_xray_slam", "padchest", "openi", "ranzcr_clip")


def remarks_on_dicom(rendering: Rendering, sources: Iterable[str]) -> list[str]:
    """Lines for whoever gives DICOM to a model of these data sets.

    Args:
        rendering: the model's `image.dicom`.
        sources: the data sets, as `data.source` names them.

    >>> remarks_on_dicom("equalize", ["chexpert", "vindr_cxr"])
    []
    """
    remarks = []
    for source in sources:
        if source in NOT_SAID:
            remarks.append(
                f"DICOM is shown by image.dicom = {rendering}, which is a guess: nobody says how the pictures of "
                f"{source} were made, and the model may do worse on DICOM than on those"
            )
        elif MADE_BY.get(source, rendering) != rendering:
            remarks.append(
                f"DICOM is shown by image.dicom = {rendering}, and the released pictures of {source} were made by "
                f"{MADE_BY[source]}: a model that was trained on those needs image.dicom = {MADE_BY[source]}"
            )
    return remarks
