"""Published numbers and what the papers leave open, as text: nothing here is computed."""

from __future__ import annotations

from typing import NamedTuple


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

LEFT_OPEN_1 = [
    "Its “baseline 92.64%” is above its own full method’s 0.926030, so the paper holds no ablation of the"
    " refiner. `dvc exp run -S refiner.enabled=false` is the missing experiment: same initial weights, "
    "same data order, same augmentation.",
    "0.926030 is a score of the Kaggle private leaderboard, on hidden test labels. The winner of the "
    "division has 0.94187.",
    "The reduction of the loss is not stated, and it decides whether λ = 0.001 leaves any coupling alive."
    " With the released code’s mean over images and labels A stays below 0.00005 and the refiner does "
    "nothing; `loss.reduction: batchmean` gives the few non-zero couplings of the paper’s Fig. 7.",
    "It splits by image, so that views of one patient land in several folds. Here `split.group_by: "
    "patient` keeps them together; `none` is the paper’s way.",
    "ASL’s probabilities are not calibrated: at 2% prevalence the no-information output is 0.36.",
]

LEFT_OPEN_2 = [
    "Sums over positions and graph rows are not normalised (`normalize: false` is the paper’s lineage, "
    "with a first loss near 35); `true` is what to train with on X-rays, AdamW and mixed precision.",
    "The printed learning rates 0.5 / 0.05 are ten times those of its predecessor’s author; the weight "
    "decay is printed as 1e-3. The presets say which values they use.",
    "“Multi-scale” and “cascade” are never defined; here a cascade is the static graph, then the dynamic "
    "one.",
    "The printed F1 scores do not satisfy 2PR / (P + R): compute them, never aim at them.",
]
