"""bad-inputs.md out of the cases. Written by: python -m tests.bad_inputs.document"""

from __future__ import annotations

from pathlib import Path

from tests.bad_inputs import (
    cases_chest_sets,
    cases_commands,
    cases_data_sets,
    cases_export,
    cases_external,
    cases_images,
    cases_predict,
    cases_results,
    cases_settings,
    cases_tables,
)
from tests.bad_inputs.case import Case

PAGE = Path(__file__).with_name("bad-inputs.md")
GROUPS = {
    "Settings and presets": cases_settings.CASES,
    "Label tables, patients and splits": cases_tables.CASES,
    "Images and their names": cases_images.CASES,
    "Data sets and the inventory": cases_data_sets.CASES,
    "PadChest, BRAX, Open-i and RANZCR CLiP": cases_chest_sets.CASES,
    "External test": cases_external.CASES,
    "What stages hand on": cases_results.CASES,
    "New images and the model that predicts them": cases_predict.CASES,
    "Exported bundles": cases_export.CASES,
    "Command line, environment and locks": cases_commands.CASES,
}
CASES = [case for cases in GROUPS.values() for case in cases]
HEAD = """\
# Bad inputs: what happens

Each of these {n} inputs is tried by `tests/bad_inputs` on a small project, and each message is compared in full. This
page is written by `python -m tests.bad_inputs.document`, and a test fails when it is not up to date.

An input is either **refused** - exit code 1 (2 for a wrong command line), one line on stderr that says where the mistake
is and what to do, and every output as it was before - or **handled**: counted, reported, never dropped in silence.
Placeholders: `{{project}}` is the project's folder, `{{key}}` a digest, `{{free}}` free disk space, `{{epoch}}` the best
epoch, `{{auc}}` a score, `{{place}}` a line and column, `{{version}}` timm's version.
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD.format(n=len(CASES))]
    for heading, cases in GROUPS.items():
        parts.append(f"\n## {heading}\n\n| input | command | what happens |\n|---|---|---|\n")
        parts += [f"| {_cell(case.name)} | `{_command(case)}` | {_outcome(case)} |\n" for case in cases]
    return "".join(parts)


def _command(case: Case) -> str:
    return " ".join(["couplet", *case.commands[-1]])


def _outcome(case: Case) -> str:
    if case.refused:
        return f"refused: {_code(case.refused)}"
    details = [*case.said, *dict.fromkeys(case.quarantined.values())]
    return ": ".join([_cell(case.happens), *([", ".join(map(_code, details))] if details else [])])


def _cell(text: str) -> str:
    for sign in "\\|<>*_`$":
        text = text.replace(sign, "\\" + sign)
    return text


def _code(text: str) -> str:
    """Code in a table's cell: a bar must be escaped there even in code, and a back-tick needs two around it."""
    text = text.replace("|", "\\|")
    return f"`` {text} ``" if "`" in text else f"`{text}`"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE.name}: {len(CASES)} cases")
