"""params.yaml and presets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from couplet.settings.schema.messages import one_of
from couplet.settings.schema.plugins import HEADS, LOSSES, SOURCES
from tests.bad_inputs.case import (
    Case,
    Given,
    after_scan,
    both,
    file,
    folder,
    nothing,
    place,
    removed,
    replaced,
    setting,
)

PARAMS = "params.yaml"
TRAIN = "train-fold 0"


def check(name: str, given: Given, refused: str) -> Case:
    return Case(name, given, run="check", refused=refused)


def train(name: str, given: Given, refused: str) -> Case:
    return Case(name, given, run=TRAIN, base="trained", refused=refused)


def table(positive: Callable[[int], bool]) -> Given:
    """24 images of 12 patients with one label."""
    rows = [f"{i:02d}.png,p{i // 2},{int(positive(i))}" for i in range(24)]
    return file("{raw}/labels.csv", "\n".join(["image,patient,Edema", *rows]) + "\n")


def bomb() -> str:
    """Nine lists of nine aliases each: nine to the ninth values."""
    lines = ["data:", "  source_args:", "    a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"    a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
    return "\n".join(lines) + "\n"


source_args: Any = {"tabel": "labels.csv"}

CASES = [
    check(
        "no params.yaml", removed(PARAMS), "params.yaml is not there: run this in the project's root folder"
    ),
    check(
        "an empty params.yaml",
        file(PARAMS, ""),
        "params.yaml must hold keys and values, not nothing: see docs/presets.md",
    ),
    check(
        "a list where settings should be",
        file(PARAMS, "- seed\n"),
        "params.yaml must hold keys and values, not list: see docs/presets.md",
    ),
    check(
        "a folder named params.yaml",
        folder(PARAMS),
        "Is a directory (params.yaml): mend that, then run `dvc repro` to go on from here",
    ),
    check(
        "params.yaml in another encoding",
        file(PARAMS, "preset: ü".encode("utf-16")),
        "params.yaml is not UTF-8 text: save it as UTF-8",
    ),
    check(
        "a tab in front of a key",
        file(PARAMS, "image:\n\tsize: 64\n"),
        "params.yaml line 2, column 1: found character '\\t' that cannot start any token: correct it, or restore the file from git",
    ),
    check(
        "an unclosed bracket",
        file(PARAMS, "split:\n  folds: [0, 1\n"),
        "params.yaml line 3, column 1: expected ',' or ']', but got '<stream end>': correct it, or restore the file from git",
    ),
    check(
        "a key twice",
        file(PARAMS, "seed: 1\nseed: 2\n"),
        "params.yaml line 2, column 1: key 'seed' is there twice: remove one of them",
    ),
    check(
        "a tag that would run a program",
        file(PARAMS, "seed: !!python/object/apply:os.system [ls]\n"),
        "params.yaml line 1, column 7: could not determine a constructor for the tag 'tag:yaml.org,2002:python/object/apply:os.system': correct it, or restore the file from git",
    ),
    check(
        "a tag that does not fit its value",
        file(PARAMS, "seed: !!int many\n"),
        "params.yaml holds a number or switch that cannot be read: restore it from git",
    ),
    check(
        "a whole number of 5,000 digits",
        file(PARAMS, "seed: " + "1" * 5000),
        "params.yaml holds a number or switch that cannot be read: restore it from git",
    ),
    check(
        "aliases that stand for a billion values",
        file(PARAMS, bomb()),
        "params.yaml line 4, column 14: the alias *a0 is not allowed: write its value out",
    ),
    check(
        "brackets nested 3,000 deep",
        file(PARAMS, "seed: " + "[" * 3000),
        "params.yaml is nested too deeply: restore it from git",
    ),
    check(
        "a section without content",
        file(PARAMS, "refiner:\n"),
        "params.yaml: refiner = nothing is not allowed: it should be keys with values",
    ),
    check(
        "a misspelt key",
        setting("refiner.enabld", False),
        "params.yaml: unknown key refiner.enabld: did you mean refiner.enabled?",
    ),
    check(
        "couplings fitted in a way that there is not",
        setting("refiner.fit", "afterwards"),
        "params.yaml: refiner.fit = 'afterwards' is not allowed: it should be 'joint' or 'out_of_fold'",
    ),
    check(
        "couplings that nothing holds back",
        setting("refiner.strictness", 0.0),
        "params.yaml: refiner.strictness = 0.0 is not allowed: it should be greater than 0",
    ),
    check(
        "a key in the wrong section",
        setting("schedule.lr", 0.1),
        "params.yaml: unknown key schedule.lr: did you mean optimizer.lr?",
    ),
    check(
        "-S +new.key=1",
        setting("new.key", 1),
        "params.yaml: unknown key new: allowed here: preset, seed, data, image, split, model, refiner, loss, optimizer, schedule, ema, train, augment, inference, calibration, decision, report",
    ),
    check(
        "a key that is a number",
        file(PARAMS, "1: 2\n"),
        "params.yaml: the key 1 is not allowed: a key should be text",
    ),
    check(
        "text for a number",
        setting("optimizer.lr", "abc"),
        "params.yaml: optimizer.lr = 'abc' is not allowed: it should be a number",
    ),
    check(
        "text for a switch",
        setting("refiner.enabled", "maybe"),
        "params.yaml: refiner.enabled = 'maybe' is not allowed: it should be true or false",
    ),
    check(
        "a number for a list",
        setting("split.folds", 3),
        "params.yaml: split.folds = 3 is not allowed: it should be a list",
    ),
    check(
        "infinity",
        setting("optimizer.lr", float("inf")),
        "params.yaml: optimizer.lr = inf is not allowed: it should be a finite number",
    ),
    check(
        "NaN",
        setting("refiner.alpha", float("nan")),
        "params.yaml: refiner.alpha = nan is not allowed: it should be a finite number",
    ),
    check(
        "a number below its range",
        setting("seed", -1),
        "params.yaml: seed = -1 is not allowed: it should be greater than or equal to 0",
    ),
    check(
        "a value with a line end in it",
        setting("loss.name", "asl\nbce"),
        f"params.yaml: loss.name = 'asl\\nbce' is not allowed: it should be {one_of(LOSSES.names())}",
    ),
    check(
        "a head that does not exist",
        setting("model.head", "gcn"),
        f"params.yaml: model.head = 'gcn' is not allowed: it should be {one_of(HEADS.names())}",
    ),
    check(
        "a chain of networks of a head that has none",
        setting("model.levels.kind", "ag_cnn", **{"model.head": "mlp"}),
        "params.yaml: model.levels.kind = ag_cnn is not defined for model.head = mlp: set model.head to 'gmp' or 'linear', or model.levels.kind to single",
    ),
    check(
        "a cascade without a level",
        setting("model.levels.count", 0, **{"model.levels.kind": "cascade"}),
        "params.yaml: model.levels.count = 0 is not allowed: it should be greater than or equal to 1",
    ),
    check(
        "another head's setting",
        setting("model.head_args", {"beta": 0.0}),
        "params.yaml: unknown key model.head_args.beta for model.head = linear: nothing is allowed here; take it out, on the command line with -S '~model.head_args'",
    ),
    check(
        "a misspelt setting of the head",
        setting("model.head_args", {"bta": 0.0}, **{"model.head": "db_dgcn"}),
        "params.yaml: unknown key model.head_args.bta for model.head = db_dgcn: did you mean 'beta'? (allowed: dim, beta, omega, pool, normalize, share_dynamic, static_init, static_trainable)",
    ),
    check(
        "attention heads that do not divide the width",
        setting("model.head_args", {"heads": 5}, **{"model.head": "ml_decoder"}),
        "params.yaml: model.head_args.heads = 5 does not divide model.head_args.dim = 768: change one",
    ),
    check(
        "positions of an odd width",
        setting("model.head_args", {"dim": 9, "heads": 3}, **{"model.head": "query2label"}),
        "params.yaml: model.head_args.dim = 9 is odd: half of it is for rows, half for columns; make it even",
    ),
    train(
        "attention heads that do not divide the backbone's features",
        setting("model.head_args", {"heads": 3}, **{"model.head": "ctran"}),
        "model.head_args.heads = 3 does not divide the 16 features of model.backbone: change one",
    ),
    check(
        "smoothed labels for a loss that has no use for them",
        setting("loss.smoothing", 0.1, **{"loss.name": "pairwise", "loss.args": {}}),
        "params.yaml: loss.smoothing = 0.1 has no meaning for loss.name = pairwise: set it to 0",
    ),
    check(
        "the inverse of a loss that has none",
        setting("calibration.method", "inverse", **{"loss.name": "pairwise", "loss.args": {}}),
        "params.yaml: calibration.method = inverse has no meaning for loss.name = pairwise, whose outputs are ranks "
        "and no probabilities: set it to beta or none",
    ),
    check(
        "another loss's setting",
        setting("loss.args", {"gamma_neg": 4.0}, **{"loss.name": "bce"}),
        "params.yaml: unknown key loss.args.gamma_neg for loss.name = bce: allowed: pos_weight; take it out, on the command line with -S '~loss.args'",
    ),
    check(
        "a loss's setting of the wrong kind",
        setting("loss.args", {"clip": 1.0}),
        "params.yaml: loss.args.clip = 1.0 is not allowed: it should be less than 1",
    ),
    check(
        "a policy that does not exist",
        setting("data.uncertain", {"Edema": "maybe"}),
        "params.yaml: data.uncertain.Edema = 'maybe' is not allowed: it should be 'ignore', 'zeros' or 'ones'",
    ),
    check(
        "folds that do not start at 0",
        setting("split.folds", [1, 2]),
        "params.yaml: split.folds must be 0 to K-1 in order, for example [0, 1, 2], not [1, 2]",
    ),
    check(
        "views larger than what is stored",
        setting("image.size", 64),
        "params.yaml: image.store_size must be at least image.size: views are never enlarged",
    ),
    check(
        "a codec that does not exist",
        setting("image.codec", "png"),
        "params.yaml: image.codec = 'png' is not allowed: it should be 'raw' or 'jpeg'",
    ),
    check(
        "warm-up without anything after it",
        setting("schedule.warmup_epochs", 2),
        "params.yaml: schedule.warmup_epochs = 2 leaves no step for the cosine: it must be below schedule.epochs = 2",
    ),
    check(
        "a milestone after the last epoch",
        setting("schedule.name", "step", **{"schedule.milestones": [1, 2]}),
        "params.yaml: schedule.milestones = [1, 2]: 2 is never reached, schedule.epochs = 2 are numbered 0 to 1: lower it, take it out or raise schedule.epochs",
    ),
    check(
        "smoothing that makes every target 1/2",
        setting("loss.smoothing", 1.0),
        "params.yaml: loss.smoothing = 1.0 is not allowed: it should be less than 1",
    ),
    check(
        "a calibrator that does not exist",
        setting("calibration.method", "platt"),
        "params.yaml: calibration.method = 'platt' is not allowed: it should be 'beta', 'inverse' or 'none'",
    ),
    check(
        "a rule of decision that does not exist",
        setting("decision.rule", "youdens"),
        "params.yaml: decision.rule = 'youdens' is not allowed: it should be 'youden', 'f1', 'cost', 'prevalence', 'sensitivity' or 'specificity'",
    ),
    check(
        "sets that may miss half of the patients",
        setting("decision.alpha", 0.5),
        "params.yaml: decision.alpha = 0.5 is not allowed: it should be less than 0.5",
    ),
    check(
        "sets that may miss nobody",
        setting("decision.alpha", 0.0),
        "params.yaml: decision.alpha = 0.0 is not allowed: it should be greater than 0",
    ),
    check(
        "every positive to be found",
        setting("decision.sensitivity", 1.0),
        "params.yaml: decision.sensitivity = 1.0 is not allowed: it should be less than 1",
    ),
    check(
        "a miss that does no harm",
        setting("decision.cost_ratio", 0.0),
        "params.yaml: decision.cost_ratio = 0.0 is not allowed: it should be greater than 0",
    ),
    check(
        "sets within a column",
        setting("decision.within", "sex"),
        "params.yaml: decision.within = 'sex' is not allowed: it should be 'view' or 'none'",
    ),
    check(
        "a misspelt setting of decisions",
        setting("decision.aplha", 0.05),
        "params.yaml: unknown key decision.aplha: did you mean decision.alpha?",
    ),
    check(
        "a subgroup that is always shown",
        setting("report.groups", ["view"]),
        "params.yaml: report.groups names 'view', which is always shown: leave it out",
    ),
    Case(
        "a subgroup that the images' table does not know",
        setting("report.groups", ["scanner"]),
        run="scan, prepare, split-mis",
        refused="params.yaml: report.groups names 'scanner', which is no column of groups in data/prepared/manifest.csv: "
        "name some of width, height, keep more columns of a csv table by data.source_args.group_columns, or leave it "
        "empty",
    ),
    train(
        "a label that is not to be scored and is none",
        setting("inference.unscored", ["Edma"]),
        "params.yaml: inference.unscored names 'Edma', which is no label: did you mean 'Edema'?",
    ),
    check(
        "a label that is twice not to be scored",
        setting("inference.unscored", ["Edema", "Edema"]),
        "params.yaml: inference.unscored names a label twice: ['Edema', 'Edema']",
    ),
    Case(
        "a test part with hidden labels that is to be dealt anew",
        setting("split.own_test", False),
        run="scan, prepare, split-mis",
        base="slam",
        refused="params.yaml: split.own_test is false, but no label of the data set's own test part is known in "
        "data/prepared/manifest.csv: set it to true",
    ),
    Case(
        "a test part that is to be dealt anew where there is none",
        setting("split.own_test", False),
        run="scan, prepare, split-mis",
        happens="said",
        said=("split.own_test = false changes nothing: the data set has no test part of its own",),
    ),
    train(
        "a share of frozen layers that freezes none",
        setting("model.freeze", 0.01),
        "model.freeze = 0.01 is less than half of one of the 5 layers of model.backbone = resnet10t: set it to 0 or "
        "raise it",
    ),
    train(
        "more pooling after a stage that is not there",
        setting("model.extra_pool", "layer9"),
        "model.extra_pool = 'layer9' is no sequence of layers of model.backbone = resnet10t: it should be one, for "
        "example conv1, layer1, layer2, layer3, layer4",
    ),
    check(
        "metadata for a head of feature maps",
        setting("model.metadata", ["age"], **{"model.head": "gmp"}),
        "params.yaml: model.metadata is ['age'], and model.head = gmp reads a feature map alone: set model.metadata to "
        "[], or model.head to one of label_mlp, linear, lstm, mlp",
    ),
    train(
        "metadata that nobody knows",
        setting("model.metadata", ["sex", "age"]),
        "model.metadata names 'age', which no training image of fold 0 has in a form that is understood (age in years, "
        "sex M or F, view AP or PA): take it out",
    ),
    Case(
        "a wait for a plateau that never ends",
        setting("schedule.name", "plateau", **{"schedule.patience": 2}),
        run="check",
        happens="named in a line",
        said=("does nothing: schedule.patience = 2 with schedule.epochs = 2: the learning rate never falls",),
    ),
    Case(
        "a correction of an ensemble that nothing calibrates",
        both(setting("calibration.method", "none"), setting("calibration.sharpen", False)),
        run="check",
        happens="named in a line",
        said=("does nothing: calibration.sharpen = false is not read: calibration.method is none",),
    ),
    Case(
        "a setting that the others leave without effect",
        setting("optimizer.momentum", 0.5),
        run="check",
        happens="named in a line; defaults and the preset's own values never are",
        said=("does nothing: optimizer.momentum = 0.5 is not read: optimizer.name is adamw",),
    ),
    check(
        "params.yaml with a merge conflict",
        file(PARAMS, "preset: phantom\n<<<<<<< HEAD\nseed: 1\n=======\nseed: 2\n>>>>>>> theirs\n"),
        "params.yaml line 2: git left a merge conflict here (<<<<<<< HEAD): keep one side and take its marks out, or `git checkout --ours params.yaml` (or --theirs)",
    ),
    Case(
        "outputs of a fold that split.folds does not have, before anything is trained",
        lambda p: place(p, "data/models/fold_5").mkdir(parents=True),
        run="scan, prepare",
        refused="data/models/fold_5 belongs to a fold that split.folds = [0, 1] does not have: run `couplet prune`, then `dvc repro`",
    ),
    Case(
        "files that people named like a fold's",
        both(
            lambda p: place(p, "data/models/fold_0_backup").mkdir(parents=True),
            lambda p: place(p, "metrics").mkdir(),
            file("metrics/fold_notes.json", "{}"),
        ),
        run="prune",
        happens="left alone",
        said=("folds kept: 0, 1",),
        same=True,
    ),
    Case(
        "a batch larger than what one fold trains on",
        setting("train.batch_size", 1000),
        run="scan, prepare, split-mis",
        refused="fold 0 trains on 10 images, fewer than train.batch_size = 1000: lower train.batch_size",
    ),
    Case(
        "positives in one fold only",
        table(lambda i: i < 2),
        run="scan, prepare, split-mis",
        refused="fold 0: no label has both positives and negatives among its 10 images, so no epoch of its training could be chosen: use fewer split.folds or bring more data",
    ),
    Case(
        "a label without any positive",
        replaced("{raw}/labels.csv", "0,1,1\n", "0,1,0\n"),
        run="scan, prepare, split-mis",
        happens="named when the folds are dealt; the others are trained",
        said=("warning: labels of one value only, which nothing can be learned of: Rare (no positive)",),
    ),
    check(
        "a data set that does not exist",
        setting("data.source", "nhi"),
        f"params.yaml: data.source = 'nhi' is not allowed: it should be {one_of(SOURCES.names())}",
    ),
    check(
        "params.yaml names a preset that does not exist",
        setting("preset", "papper"),
        "params.yaml: preset = 'papper': no preset 'papper' in presets/: did you mean paper?",
    ),
    Case(
        "a preset that does not exist",
        nothing,
        run="preset papper",
        refused="no preset 'papper' in presets/: did you mean paper?",
    ),
    Case(
        "a preset that is to keep what there is not",
        nothing,
        run="preset paper --keep datta",
        refused="--keep datta: params.yaml has no such section or setting: did you mean data?",
    ),
    Case(
        "a preset that is to keep what does not fit it",
        nothing,
        run="preset csra_coco --keep schedule.epochs",
        refused="presets/csra_coco.yaml with --keep: schedule.milestones = [5, 10, 15, 20, 25]: 5 is never reached, schedule.epochs = 2 are numbered 0 to 1: lower it, take it out or raise schedule.epochs",
    ),
    Case(
        "a preset outside presets/",
        nothing,
        run="preset ../paper",
        refused="no preset '../paper' in presets/: did you mean paper?",
    ),
    check(
        "a misspelled setting of the adapter",
        setting("data.source", "phantom", **{"data.source_args": {"pateints": 560}}),
        "unknown key data.source_args.pateints for data.source: phantom: did you mean 'patients'? (allowed: division, patients, size, seed, film, prevalence, first_patient)",
    ),
    check(
        "an adapter's setting out of its bounds",
        setting("data.source", "phantom", **{"data.source_args": {"patients": 3}}),
        "data.source_args.patients = 3 is not allowed: it should be greater than or equal to 20",
    ),
    check(
        "an adapter's setting of another type",
        setting("data.source", "phantom", **{"data.source_args": {"patients": "many"}}),
        "data.source_args.patients = 'many' is not allowed: it should be a whole number",
    ),
    check(
        "a finding that cannot be drawn",
        setting("data.source", "phantom", **{"data.source_args": {"prevalence": {"Edma": 0.2}}}),
        "data.source_args.prevalence names 'Edma', which is no finding that can be set: did you mean 'Edema'? (allowed: Atelectasis, Cardiomegaly, Consolidation, Edema, Enlarged Cardiomediastinum, Fracture, Lung Lesion, Pleural Effusion, Pleural Other, Pneumonia, Pneumothorax)",
    ),
    check(
        "the settings of the adapter of another data set",
        setting("data.source", "nih", **{"data.source_args": {"patients": 560}}),
        "unknown key data.source_args.patients for data.source: nih: allowed: no_finding",
    ),
    Case(
        "an unknown setting of the adapter, before every file is hashed",
        setting("data.source_args", source_args),
        run="scan",
        refused="unknown key data.source_args.tabel for data.source: csv: did you mean 'table'? (allowed: table, image_folder, label_columns, image_column, patient_column, study_column, view_column, sex_column, age_column, part_column, group_columns)",
    ),
    Case(
        "a preset that is to keep the settings of another data set's adapter",
        setting("data.source_args", {"table": "labels.csv"}),
        run="preset nih --keep data.source_args",
        refused="presets/nih.yaml with --keep: unknown key data.source_args.table for data.source: nih: allowed: no_finding",
    ),
    Case(
        "an unknown setting of the adapter",
        after_scan(setting("data.source_args", source_args)),
        run="prepare",
        refused="unknown key data.source_args.tabel for data.source: csv: did you mean 'table'? (allowed: table, image_folder, label_columns, image_column, patient_column, study_column, view_column, sex_column, age_column, part_column, group_columns)",
    ),
    Case(
        "an adapter's setting of the wrong kind",
        after_scan(setting("data.source_args", {"label_columns": "Edema"})),
        run="prepare",
        refused="data.source_args.label_columns = 'Edema' is not allowed: it should be a list",
    ),
    check(
        "a label without terms",
        setting("data.source", "padchest", **{"data.source_args": {"labels": {"Opacity": []}}}),
        "data.source_args.labels: 'Opacity' has no terms: name one or more, or take it out",
    ),
    check(
        "a label column that is named twice",
        setting("data.source_args", {"label_columns": ["Edema", "Edema"]}),
        "data.source_args.label_columns: 'Edema' is there twice or is no label: remove it",
    ),
    check(
        "a group column that is named as a label too",
        setting("data.source_args", {"label_columns": ["Edema"], "group_columns": ["Edema"]}),
        "data.source_args.group_columns: 'Edema' is there twice or is a label: remove it",
    ),
    Case(
        "a policy for a label that does not exist",
        setting("data.uncertain", {"Edma": "ones"}),
        refused="data.uncertain names the unknown label 'Edma': did you mean 'Edema'? (allowed: Edema, Nodule, Rare)",
    ),
    Case(
        "a label table outside the data folder",
        setting("data.source_args", {"table": "../x.csv"}),
        refused="data.source_args.table: '../x.csv' is not a path inside the data folder: write it relative, with '/' and without '..'",
    ),
    Case(
        "a store larger than the disk",
        setting("image.store_size", 10_000_000),
        refused="{project}/.scratch/prepare/csv-10000000x1 has {free} GB left, the store needs 2400000.0 GB more: free space, lower image.store_size, set image.codec: jpeg, or set COUPLET_SCRATCH to a folder on a larger disk",
    ),
    train(
        "a backbone that does not exist",
        setting("model.backbone", "resnet10tt"),
        "model.backbone = 'resnet10tt' is no network of timm {version}: did you mean resnet10t, resnet50t, resnet14t?",
    ),
    train(
        "a backbone from anywhere on the hub",
        setting("model.backbone", "hf-hub:me/mine"),
        "model.backbone = 'hf-hub:me/mine' is no network of timm {version}: timm.list_models() lists all names",
    ),
    train(
        "weights that nobody published",
        setting("model.pretrained", True, **{"model.backbone": "resnet10t.mine"}),
        "model.backbone = 'resnet10t.mine': timm has no such weights: did you mean resnet10t.c3_in1k?",
    ),
    train(
        "an argument that the backbone does not have",
        setting("model.backbone_args", {"chanels": 3}),
        "timm cannot build model.backbone = resnet10t with model.backbone_args = {'chanels': 3} for model.head = linear: ResNet.__init__() got an unexpected keyword argument 'chanels': correct model.backbone_args or model.head",
    ),
    train(
        "an argument that would load other weights",
        setting("model.backbone_args", {"checkpoint_path": "x.pth"}),
        "model.backbone_args.checkpoint_path is decided by the pipeline: remove it",
    ),
    train(
        "rates of missing positives for another number of labels",
        setting("loss", {"name": "bce_forward", "args": {"missing_rate": [0.1, 0.2]}}),
        "params.yaml: loss.args.missing_rate lists 2 rates for 3 labels: give one for each, in the order of data/prepared/labels.json, or one number for all",
    ),
    check(
        "a repeat of the training below 0",
        setting("train.repeat", -1),
        "params.yaml: train.repeat = -1 is not allowed: it should be greater than or equal to 0",
    ),
    check(
        "a list of repeats",
        setting("train.repeat", [1, 2, 3]),
        "params.yaml: train.repeat = [1, 2, 3] is not allowed: it should be a whole number",
    ),
    check(
        "steps of three parts",
        setting("train.parts", 3),
        "params.yaml: train.parts = 3 should be a power of two",
    ),
    check(
        "more parts than divide a batch",
        setting("train.parts", 16, **{"train.batch_size": 24}),
        "params.yaml: train.parts = 16 must divide train.batch_size = 24",
    ),
    check(
        "parts too small for BatchNorm",
        setting("train.parts", 4, **{"train.batch_size": 24}),
        "params.yaml: train.parts = 4 leaves 6 images for each BatchNorm, at least 8 are needed: raise train.batch_size or lower train.parts",
    ),
    train(
        "a GPU where there is none",
        setting("train.device", "cuda"),
        "train.device = 'cuda', but torch sees no GPU: set train.device to auto or cpu",
    ),
    check(
        "half precision on a CPU",
        setting("train.precision", "fp16"),
        "params.yaml: train.precision = 'fp16' needs a GPU, and train.device is cpu: set train.precision to auto, bf16 or float32, or train.device to auto",
    ),
    train(
        "half precision where there is no GPU",
        setting("train.precision", "fp16", **{"train.device": "auto"}),
        "train.precision = 'fp16' needs a GPU: set it to auto, bf16 or float32",
    ),
    train(
        "bf16 where numbers must be portable",
        both(setting("train.arithmetic", "portable"), setting("train.precision", "bf16")),
        "params.yaml: train.precision = 'bf16' is not portable: set it to auto or float32, or set train.arithmetic to native",
    ),
    train(
        "a GPU where numbers must be portable",
        both(setting("train.arithmetic", "portable"), setting("train.device", "cuda")),
        "params.yaml: train.device = 'cuda' is not portable: set it to auto or cpu, or set train.arithmetic to native",
    ),
    train(
        "batches larger than the data",
        setting("train.batch_size", 1000),
        "fold 0 trains on 10 images, fewer than train.batch_size = 1000: lower train.batch_size",
    ),
    train(
        "a learning rate that diverges",
        setting("optimizer.lr", 1e30),
        "fold 0: after epoch 1 24 of 24 validation probabilities are not finite (0 batches were skipped): the training diverged, lower optimizer.lr or optimizer.max_grad_norm, or set train.precision to float32",
    ),
    train(
        "couplings that overflow every batch",
        setting("refiner.alpha", 1e38),
        "fold 0: all 4 batches gave a loss or gradient that is not finite, so nothing was learned: lower optimizer.lr or optimizer.max_grad_norm, or set train.precision to float32",
    ),
    Case(
        "settings changed after training",
        setting("refiner.alpha", 0.5),
        run="report",
        base="trained",
        refused="params.yaml: refiner.alpha is 0.5, but the models were trained with 0.3: run `dvc repro`, or restore params.yaml",
    ),
    Case(
        "2e-4, 010 and no as YAML 1.2 reads them",
        file(PARAMS, "seed: 010\noptimizer:\n  lr: 2e-4\nschedule:\n  epochs: 4\n"),
        run="check",
        happens="the first two are numbers (ten, not eight); yes and no would be text, and refused for a switch",
        said=("seed: 10 (preset paper: 42)",),
    ),
    check(
        "a gate for couplings that are fitted after training",
        setting("refiner.fit", "out_of_fold", **{"refiner.conditional": "gate"}),
        "params.yaml: refiner.conditional = 'gate' reads the network's features, and refiner.fit = 'out_of_fold' has only its predictions: set refiner.conditional to none, or refiner.fit to joint",
    ),
]
