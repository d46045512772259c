"""From numbers and pictures to one HTML page that needs nothing else: no scripts, no requests, no fonts."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup, escape

from couplet.evaluation.metrics import THRESHOLD
from couplet.reporting import analysis, published, tables
from couplet.reporting.gallery import ALL_LABELS, Gallery, Picture, folds_word, selection_note
from couplet.reporting.headline import facts
from couplet.reporting.inputs import Run

STRONGEST = 12  # couplings in the table
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


def render(run: Run, gallery: Gallery, explanations: list[Picture] | None) -> str:
    """The report as HTML text."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("couplet.reporting", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "number": number,
        "percent": percent,
        "code": code,
        "data_uri": data_uri,
        "setting": setting,
    }
    label_rows = tables.label_rows(run)
    return environment.get_template("report.html.jinja").render(
        run=run,
        params=run.params,
        gallery=gallery,
        explanations=explanations,
        selection_note=selection_note(run),
        folds_word=folds_word(run),
        oof=tables.score(run.ensemble["oof"], "auc_macro"),
        oof_interval=tables.oof_interval(run),
        test=tables.score(run.ensemble["test"], "auc_macro") if "test" in run.ensemble else None,
        test_interval=tables.test_interval(run) if run.test_labelled else None,
        fold_auc=[(fold.fold, tables.score(fold.metrics, "auc_macro")) for fold in run.folds],
        facts=facts(run),
        comparability=NOT_COMPARABLE.get(run.params.data.source, OTHER_DATA),
        table_i=published.TABLE_I,
        coco=published.COCO_2014,
        second_paper=run.params.data.source == "coco" or run.params.model.head == "db_dgcn",
        left_open_1=published.LEFT_OPEN_1,
        left_open_2=published.LEFT_OPEN_2,
        score_names=[*tables.SCORES.values(), *tables.TOP3.values()],
        top3_names=list(tables.TOP3.values()),
        score_rows=tables.score_rows(run),
        label_rows=label_rows,
        forest=[forest(row, axis_start(label_rows)) for row in label_rows],
        forest_start=axis_start(label_rows),
        votes=votes(run, gallery),
        pairs=pairs(run, gallery),
        split_parts=split_parts(run),
        split_rows=split_rows(run),
        strongest=strongest_couplings(run),
        largest_shift=largest_shift(run),
        many_labels=len(run.labels) > ALL_LABELS,
        versions=versions(run),
        threshold=THRESHOLD,
        small=analysis.SMALL,
    )


# --- rows that only the page needs -------------------------------------------------------------------------


def axis_start(rows: list[tables.LabelRow]) -> float:
    """Left end of the per-label AUC scale: 0.5, or lower in tenths if any AUC or interval is."""
    values = [v for row in rows for v in (row.auc, row.low, *row.auc_per_fold) if v is not None]
    return min(0.5, float(np.floor(min(values, default=0.5) * 10) / 10))


def forest(row: tables.LabelRow, start: float, width: int = 132, pad: int = 6) -> dict[str, Any]:
    """Where a label's AUC, its interval and its folds stand on a scale from `start` to 1, in pixels."""

    def x(value: float) -> str:
        return f"{pad + (value - start) / (1 - start) * (width - 2 * pad):.1f}"

    return {
        "auc": None if row.auc is None else x(row.auc),
        "interval": None if row.low is None or row.high is None else (x(row.low), x(row.high)),
        "folds": [x(value) for value in row.auc_per_fold if value is not None],
        "chance": x(0.5),
    }


def votes(run: Run, gallery: Gallery) -> list[tuple[str, int, float]]:
    """(yes–no, cells, share) for every possible outcome of the folds' vote."""
    numbers = gallery.agreement_numbers
    if numbers is None:
        return []
    k, total = len(run.folds), int(numbers.votes.sum())
    return [
        (f"{yes}–{k - yes}", int(numbers.votes[yes]), numbers.votes[yes] / total) for yes in range(k, -1, -1)
    ]


def pairs(run: Run, gallery: Gallery) -> list[tuple[int, int, float, float | None]]:
    """(fold, fold, agreement, kappa or None) for every pair of folds."""
    numbers = gallery.agreement_numbers
    if numbers is None:
        return []
    return [
        (
            run.folds[i].fold,
            run.folds[j].fold,
            float(numbers.agreement[i, j]),
            None if np.isnan(numbers.kappa[i, j]) else float(numbers.kappa[i, j]),
        )
        for i in range(len(run.folds))
        for j in range(i + 1, len(run.folds))
    ]


def split_parts(run: Run) -> list[str]:
    """The parts that images are dealt to: folds in order, then "test" and "train" where they exist."""
    return sorted(
        set(run.fold_of), key=lambda part: (not part.isdigit(), int(part) if part.isdigit() else 0, part)
    )


def split_rows(run: Run) -> list[tuple[str, list[tuple[int, float] | None]]]:
    """(label, (positives, share of the known) per part of `split_parts`); None where a part knows nothing."""
    cells = []
    for part in split_parts(run):
        truth = run.truth[run.fold_of == part]
        positives, known = (truth == 1).sum(axis=0), np.isfinite(truth).sum(axis=0)
        cells.append([(int(p), p / k) if k else None for p, k in zip(positives, known, strict=True)])
    return [(label, [part[i] for part in cells]) for i, label in enumerate(run.labels)]


def strongest_couplings(run: Run) -> list[dict[str, Any]]:
    """The STRONGEST mean couplings that are not small, with what the single folds say."""
    mean = run.mean_couplings
    if mean is None:
        return []
    folds = np.stack([fold.couplings for fold in run.folds if fold.couplings is not None])
    together = analysis.pearson(run.truth[run.oof_rows])
    rows = []
    for flat in np.argsort(-np.abs(mean), axis=None, kind="stable")[:STRONGEST]:
        i, j = divmod(int(flat), len(run.labels))
        if i != j and abs(mean[i, j]) >= analysis.SMALL:
            same = int((np.sign(folds[:, i, j]) == np.sign(mean[i, j])).sum())
            rows.append(
                {
                    "source": run.labels[i],
                    "target": run.labels[j],
                    "mean": float(mean[i, j]),
                    "folds": [float(value) for value in folds[:, i, j]],
                    "same_sign": f"{same} of {len(folds)}",
                    "shift": run.params.refiner.alpha * float(mean[i, j]),
                    "correlation": None if np.isnan(together[i, j]) else float(together[i, j]),
                }
            )
    return rows


def largest_shift(run: Run) -> float:
    """The most by which all sources together can move any target's logit, either way; 0 without a refiner."""
    mean = run.mean_couplings
    if mean is None:
        return 0.0
    up, down = np.maximum(mean, 0).sum(axis=0), np.maximum(-mean, 0).sum(axis=0)
    return abs(run.params.refiner.alpha) * float(max(up.max(), down.max()))


def versions(run: Run) -> list[tuple[str, str]]:
    """What made the models: code, data, weights and versions; the folds share the first three."""
    config = run.folds[0].config
    rows = [("Code", str(config["code"])), ("Initial weights", str(config["weights"]))]
    rows += [(f"Data: {path}", str(md5)) for path, md5 in config["data"].items()]
    # Folds that were trained on several hosts may differ in this.
    computed = dict.fromkeys(", ".join(map(str, fold.config["arithmetic"].values())) for fold in run.folds)
    rows.append(("Arithmetic", "; ".join(computed)))
    for name in config["versions"]:
        found = {str(fold.config["versions"].get(name)) for fold in run.folds}
        rows.append((name, ", ".join(sorted(found))))
    return rows


# --- filters -----------------------------------------------------------------------------------------------


def number(value: float | None, digits: int = 4, sign: bool = False) -> str:
    """A number with a true minus sign; a dash where there is none."""
    if value is None or not np.isfinite(value):
        return "–"
    return f"{value:{'+' if sign else ''}.{digits}f}".replace("-", "−")


def percent(value: float | None, digits: int = 1) -> str:
    """A share as a percentage; a dash where there is none."""
    return "–" if value is None or not np.isfinite(value) else f"{value:.{digits}%}"


def setting(value: Any) -> str:
    """A setting as params.yaml would write it in one line."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def code(text: str) -> Markup:
    """Escaped text whose `quoted` words are set as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def data_uri(png: bytes) -> str:
    """PNG bytes as an address that holds them."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
