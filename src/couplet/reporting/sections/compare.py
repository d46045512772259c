"""This run beside the published numbers of both papers, and how far it may be compared with them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

from couplet.evaluation.estimate import Estimate
from couplet.reporting.section import Drawn
from couplet.results.run import Run

TITLE = "Beside published numbers"

NOT_COMPARABLE = {
    "phantom": (
        "This run’s pictures are drawn by the pipeline itself. Its numbers show that the pipeline works, and "
        "nothing about chest X-rays: they must not be set beside the published ones."
    ),
    "grand_xray_slam": (
        "The published scores are macro-AUCs on the competition’s hidden test labels. This run’s out-of-fold "
        "number is on training images, so the two are close relatives and not the same: only a submission of "
        "`data/predictions/ensemble/submission.csv` is comparable."
    ),
    "coco": (
        "This run is on photographs with other labels: the scores of Table I, all of chest X-rays, say "
        "nothing about it. The second paper’s numbers below are of the whole COCO 2014 validation set."
    ),
}
OTHER_DATA = (
    "This run is on other images with other labels than the published scores, which are of the hidden test "
    "part of Grand X-Ray SLAM, division B: not comparable, an order of magnitude at best."
)


class Method(NamedTuple):
    """A row of the first paper's Table I, as this pipeline would set it up."""

    name: str
    backbone: str
    head: str
    loss: str
    published: str = ""
    where: str = ""


TABLE_I = [
    Method("Kufel et al.", "tf_efficientnet_b0.in1k", "Linear, BatchNorm", "BCE"),
    Method(
        "Xiong et al.",
        "convnextv2_base.fcmae_ft_in1k, first 77% of the parameters frozen",
        "attention pooling, self-attention, MLP",
        "BCE + focal",
    ),
    Method(
        "Chen et al.",
        "coatnet_0_rw_224.sw_in1k or tf_efficientnet_b5.in1k",
        "linear",
        "“Lours”, not defined in the paper",
    ),
    Method("Chen et al., baseline", "resnet50.tv_in1k", "", "weighted BCE"),
    Method(
        "Kumar et al.", "densenet161, untrained", "cascade: each level sees all earlier ones", "weighted BCE"
    ),
    Method("Yao et al.", "densenet121, untrained", "LSTM over the labels", "BCE"),
    Method(
        "Guan et al. (AG-CNN)", "resnet50.tv_in1k", "global + attention crop (threshold 0.7) + fusion", "BCE"
    ),
    Method("Baltruschat et al.", "ResNet-50 at 448 px", "", ""),
    Method("Taslimi et al.", "swin_large_patch4_window7_224.ms_in22k", "MLP of 1 to 3 layers", "BCE"),
    Method(
        "Srivastava et al., “baseline”",
        "seresnext101_32x4d",
        "not stated",
        "not stated",
        "92.64%",
        "as printed",
    ),
    Method(
        "Srivastava et al., full method",
        "seresnext101_32x4d.gluon_in1k",
        "linear + label-graph refiner",
        "ASL + 0.001 · |A|₁",
        "0.926030",
        "private leaderboard",
    ),
    Method("Winner of the division", "", "", "", "0.94187", "private leaderboard"),
]

COCO_2014 = [
    ("ADD-GCN at 448 px, its own paper", "84.2"),
    ("ADD-GCN, as the second paper reprints it", "81.3"),
    ("DB-DGCN, the second paper", "82.9"),
    ("ResNet-101, max pooling", "81.9"),
    ("ResNet-101, average pooling", "77.3"),
]


def content(run: Run, drawn: Drawn) -> dict[str, Any]:
    """The published tables, this run's numbers for their last rows, and a sentence on comparing them."""
    return {
        "comparability": NOT_COMPARABLE.get(run.params.data.source, OTHER_DATA),
        "table_i": TABLE_I,
        "coco": COCO_2014,
        "about_second_paper": about_second_paper(run),
        "oof": drawn.scores.oof.scores["auc_macro"],
        "test": drawn.scores.test.scores["auc_macro"] if drawn.scores.test else None,
        "whole": drawn.scores.rows[-1],
        "whole_map": in_per_cent(drawn.scores.rows[-1].scores["map"]),
    }


def in_per_cent(estimate: Estimate) -> Estimate:
    """The same share in per cent, as the second paper prints it."""
    value, low, high = (
        None if one is None else 100 * one for one in (estimate.value, estimate.low, estimate.high)
    )
    return replace(estimate, value=value, low=low, high=high)


def about_second_paper(run: Run) -> bool:
    """Whether the run is on the second paper's data or with its head."""
    return run.params.data.source == "coco" or run.params.model.head == "db_dgcn"
