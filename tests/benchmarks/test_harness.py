from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path

import pytest

from benchmarks import harness
from benchmarks.__main__ import DEFAULT, FOLDER, NAMES, NAMES_HELP, STUDIES, main, page, rendered
from benchmarks.harness import Claim, Section, Table, at_least, at_most, interleave, not_measured


def test_contenders_run_in_turn_and_warm_ups_do_not_count():
    calls = []

    def contender(name):
        return lambda: calls.append(name) or len(calls)

    samples = interleave({"a": contender("a"), "b": contender("b")}, rounds=3)
    assert calls == ["a", "b"] * 4
    assert len(samples["a"].wall) == len(samples["b"].cpu) == 3
    assert samples["b"].result == 8


def test_cpu_seconds_count_child_processes(tmp_path):
    busy = "import time\nend = time.process_time() + 0.2\nwhile time.process_time() < end: pass"
    samples = interleave({"child": lambda: harness.run_command([sys.executable, "-c", busy], tmp_path)}, 1)
    assert 0.2 <= samples["child"].cpu[0] < 2


def test_a_commands_peak_memory():
    # A process of its own starts it: the peak of whoever starts a command counts as the command's.
    code = (
        "import sys; from pathlib import Path; from benchmarks.harness import run_command\n"
        "for n in (0, 200):\n"
        "    run = run_command([sys.executable, '-c', f'b = bytearray({n} * 2**20); b[:] = bytes(len(b))'], Path('.'))\n"
        "    print(run.peak_mb)"
    )
    small, large = map(float, harness.run_command([sys.executable, "-c", code], harness.ROOT).output.split())
    assert 390 < large - small < 410  # the array, and the zeros that fill it


def test_a_command_that_fails_shows_its_output(tmp_path):
    with pytest.raises(RuntimeError, match=r"exit 3\nwhy"):
        harness.run_command([sys.executable, "-c", "print('why'); raise SystemExit(3)"], tmp_path)


def test_claims_hold_or_do_not():
    assert at_least("a", 7.9, 8).holds is False
    assert at_least("a", 8, 8).holds is True
    assert at_most("a", 2, 2, " s") == Claim("a", "2 s", "at most 2 s", True)
    assert not_measured("a", "at least 95 %", "no GPU").holds is None


def test_a_section_survives_json_and_is_shown_as_it_is():
    section = Section("T", [Table("c", ["x", "y"], [["a", 1.5], ["b", 1_000]])], [at_least("a", 9, 8)], ["n"])
    assert Section.from_dict(section.as_dict()) == section
    assert rendered("prepare", section.as_dict() | {"machine": "m"}) == (
        "## T\n\n`make bench ONLY=prepare` on: m.\n\n**c**\n\n| x | y |\n| --- | --- |\n| a | 1.5 |\n| b | 1,000 |\n\n- n"
    )


def test_every_benchmark_is_on_the_list():
    own = {
        "__init__",
        "__main__",
        "harness",
        "given",
        "plain",
        "resampling",
        "synthetic_run",
        "combined_tables",
    }
    assert {path.stem for path in Path(harness.__file__).parent.glob("*.py")} - own == set(NAMES)


@pytest.mark.parametrize("path", sorted((FOLDER / "results").glob("*.json")), ids=lambda path: path.stem)
def test_results_say_what_their_benchmark_says_of_itself(path: Path) -> None:
    """Where its notes are fixed: which preset was measured is not one thing in the code and another on the page."""
    notes = getattr(import_module(f"benchmarks.{path.stem}"), "NOTES", [])
    assert set(notes) <= set(json.loads(path.read_text())["notes"])


def test_studies_run_when_they_are_named_and_keep_their_place_on_the_page(monkeypatch, tmp_path):
    ran = []
    monkeypatch.setattr("benchmarks.__main__.run_alone", lambda name, size: ran.append(name) or Section(name))
    shown = page()
    monkeypatch.setattr("benchmarks.__main__.FOLDER", tmp_path)
    (tmp_path / "results").mkdir()
    main()
    assert ran == list(DEFAULT) and set(DEFAULT) | set(STUDIES) == set(NAMES) and len(STUDIES) == 7
    main([STUDIES[0]])
    assert ran[-1] == STUDIES[0]
    for study in STUDIES:
        assert study in NAMES_HELP and f"`{study}`" in shown and f"`make bench ONLY={study}` on: " in shown
