"""What `couplet scan` found, as one page: label frequencies and pairs before anybody trains (paper 1, Fig. 2)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from couplet.commands.scan_overview import Overview
from couplet.reporting import style
from couplet.reporting.analysis import pearson
from couplet.reporting.figures import positives_per_label
from couplet.reporting.matrices import label_graphs
from couplet.reporting.page import style_sheet, template_environment
from couplet.reporting.picture import Picture

MOST_LABELS = 40  # in the pictures; the table has all


def overview_page(found: Overview) -> str:
    """The overview as HTML text that needs nothing else; of more than 40 labels the most frequent are drawn."""
    order = np.argsort(-found.labels["positives"].to_numpy(), kind="stable")[:MOST_LABELS]
    drawn = np.sort(order)
    counts = found.labels.iloc[drawn]
    names, truth = list(counts.index), found.truth[:, drawn]
    with style.house_style():
        frequencies = positives_per_label(
            names,
            counts["positives"].to_numpy(np.float64),
            None,
            (counts["positives"] + counts["negatives"]).to_numpy(),
        )
        pairs = label_graphs(names, {"Correlation of the labels, in hundredths": pearson(truth)})
    template = Path(__file__).with_name("scan.jinja").read_text(encoding="utf-8")
    return (
        template_environment()
        .from_string(template)
        .render(
            found=found,
            css=style_sheet(),
            left_out=len(found.labels) - len(drawn),
            frequencies=Picture(
                "positives",
                frequencies,
                "Positives per label",
                "Of the training images, with their share of the images whose label is known.",
            ),
            pairs=Picture(
                "pairs",
                pairs,
                "Labels that occur together",
                "Pearson correlation over the training images on which both labels are known; a dot where it is below "
                "0.005 or a label has one value only.",
            ),
        )
    )
