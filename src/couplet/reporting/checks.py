"""What could be wrong with a run's numbers, and what they do not answer: the first lines of the report."""

from __future__ import annotations

from couplet.evaluation.shortcuts import ATTENTION
from couplet.reporting.chance import CHANCE, AgainstChance, against_chance
from couplet.reporting.estimates import RunScores
from couplet.reporting.fact import Fact
from couplet.reporting.judge_calibration import Calibration
from couplet.reporting.judge_external import ExternalTest
from couplet.reporting.judge_groups import Groups, attention
from couplet.reporting.trust import Trust
from couplet.results.run import Run


def checks(run: Run, trust: Trust, scores: RunScores) -> list[Fact]:
    """Leaks, chance, calibration, shortcuts and external test (where there is one), settings, repeats of training."""
    return [
        leaks(run),
        chance(against_chance(scores, run.labels)),
        calibration(run, trust.calibration),
        *shortcuts(trust.groups),
        *external(trust.external),
        settings(run),
        repeats(),
    ]


def leaks(run: Run) -> Fact:
    """Whether somebody or some picture is in two parts, or a model is of other data."""
    record = run.leaks
    if record.clean:
        return Fact("Leaks", "none found", record.summary)
    value = "found" if record.patients_known else "not known"
    detail = f"{record.summary}: the numbers may be too good"
    return Fact("Leaks", value, detail + ("" if record.by_patient else " (`split.group_by`)"), True)


def chance(found: list[AgainstChance]) -> Fact:
    """How many labels an AUC does not tell from chance, in each part."""
    first, *rest = found
    if not any(one.n_named for one in found):
        parts = " and ".join(one.part for one in found)
        detail = f"{parts}: every AUC has a 95% interval, and {CHANCE} lies in none"
        return Fact("Not told from chance", first.share, detail)
    where = "; ".join([first.part, *(f"{one.share} {one.part}" for one in rest)])
    detail = f"{where}: {CHANCE} lies in the 95% interval of their AUC, or there is none; named in “Label by label”"
    return Fact("Not told from chance", first.share, detail, attention=True)


def calibration(run: Run, found: Calibration) -> Fact:
    """How many labels fail the test of their calibration, and what calibrating did to the log loss.

    On the test part, where nothing was fitted; out of fold, cross-fitted, if its labels are not known.
    """
    if not found.parts:
        return Fact("Calibration", "not tested", "no label is known", True)
    part = found.parts[-1]  # the test part comes last
    where = "on the test part" if len(found.parts) > 1 else "out of fold, cross-fitted"
    if run.params.calibration.method == "none":
        where += ", of the networks’ own outputs (`calibration.method: none`)"
        estimates = [("Log loss", part.after.log_loss)]
    else:
        estimates = [("Log loss before", part.before.log_loss), ("after", part.after.log_loss)]
    if run.has_test and not run.test_labelled:
        where += "; the ensemble’s own is not measured, since the test labels are hidden"
    failing, tested = part.after.failing, part.after.tested
    if not tested:
        return Fact(
            "Calibration", "not tested", f"no label has enough patients {where}.", True, tuple(estimates)
        )
    labels = f"{tested} label{'' if tested == 1 else 's'}"
    value = f"{failing} of {labels} fail{'s' if failing == 1 else ''}"
    detail = f"{where}: slope and intercept tested together, corrected for {labels} (Wald, Holm)."
    return Fact("Calibration", value, detail, failing > 0, tuple(estimates))


def shortcuts(groups: Groups) -> list[Fact]:
    """Attributes of an image that alone contribute more than 0.02 to the macro-AUC, a line each."""
    return [
        Fact(
            "Shortcut",
            f"{row.attribute} gives {row.contributes:.3f}",
            f"of the macro-AUC out of fold, more than {ATTENTION:g}: the {row.attribute} of an image alone says which "
            f"findings are likely, and the scores know it.{groups.note}",
            True,
            (
                ("All pairs of images", row.pooled.macro),
                (f"pairs with the same {row.attribute}", row.within.macro),
                (f"knowing the {row.attribute} alone", row.attribute_only.macro),
            ),
        )
        for row in attention(groups)
    ]


def external(found: ExternalTest | None) -> list[Fact]:
    """How the ensemble does on the external test, and whether it is one; no line without."""
    if found is None:
        return []
    shared = found.shared
    who = [f"{found.n_images:,} images of {found.source} over the same {len(found.scored)} labels"]
    if shared.patients or shared.pictures:
        counts = [
            f"{n:,} {what}{'' if n == 1 else 's'}"
            for n, what in ((shared.patients or 0, "patient"), (shared.pictures, "picture"))
            if n
        ]
        who.append(f"{' and '.join(counts)} of it are in training: the numbers may be too good")
    who += shared.made_of
    estimates = [("External macro-AUC", found.external.auc)]
    if found.internal is not None:
        estimates.append(("this run’s test part", found.internal.auc))
    value = "shares training data" if shared.found else "nothing shared with training"
    return [Fact("External test", value, "; ".join(who) + ".", shared.found, tuple(estimates))]


def settings(run: Run) -> Fact:
    """What differs from the preset."""
    preset = f"presets/{run.params.preset}.yaml"
    if run.differences is None:
        return Fact("Settings", "own", f"there is no {preset} to compare with", True)
    keys = [key for key, _, _ in run.differences]
    if not keys:
        return Fact("Settings", "as the preset", f"nothing differs from {preset}")
    shown = ", ".join(keys[:4]) + (f" and {len(keys) - 4} more" if len(keys) > 4 else "")
    return Fact(
        "Settings", f"{len(keys)} differ{'s' if len(keys) == 1 else ''}", f"from {preset}: {shown}", True
    )


def repeats() -> Fact:
    """What one run cannot say."""
    detail = (
        "says nothing about the method: whether another training would agree takes at least three repeats of each "
        "arm (`train.repeat`), five are better, and `couplet compare`"
    )
    return Fact("Repeats", "one run", detail)
