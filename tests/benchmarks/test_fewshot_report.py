"""The report: its files, the README's table, and going on where a run was cut short."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import fewshot_report, fewshot_run, studies
from benchmarks.evaluate import Entry, Options, Outcome, summary
from benchmarks.fewshot_report import BEGIN, END
from benchmarks.fewshot_run import Done, run
from benchmarks.methods import METHODS
from benchmarks.studies import Study
from benchmarks.tasks import own
from farm.core.errors import UsageError
from tests.benchmarks.conftest import Fields

pytestmark = pytest.mark.slow

TASK = own("own", "own", ["slow", "fast", "wide"], ["new"])
SELECTS = ("active", "random")


def entry(name: str) -> Entry:
    method, _, encoding = name.partition(":")
    return Entry(name, METHODS[method], encoding)


@pytest.fixture
def options() -> Options:
    names = ("nearest", "ridge:vec", "ridge:hwl", "forest:hwl")
    return Options((3, 8), tuple(map(entry, names)), pretrain=60, seeds=2)


@pytest.fixture
def study(table: Path, options: Options) -> Study:
    return Study("The published tasks", "A note.", [(TASK, table)], options, SELECTS)


def outcomes(study: Study, done: Done | None = None) -> list[Outcome]:
    return list(run(study.found, study.options, study.selects, done))


def scores(found: list[Outcome]) -> list[tuple]:  # type: ignore[type-arg]
    """All but the seconds."""
    return [(o.method, o.select, o.samples, o.seed, o.spearman, o.kendall) for o in found]


def test_slow_methods_have_random_samples_where_both_are_asked_for(study: Study) -> None:
    found = {(o.method, o.select) for o in outcomes(study)}
    assert ("nearest", "active") in found
    assert ("forest:hwl", "random") in found
    assert ("forest:hwl", "active") not in found


def test_the_files_and_the_table_of_the_readme(study: Study, tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    folder = tmp_path / "results"
    fewshot_report.write([(study, outcomes(study))], folder, readme)
    said = readme.read_text()
    assert said.startswith(f"before\n{BEGIN}\n| method | own |")
    assert said.endswith(f"{END}\nafter\n")
    assert "old" not in said
    assert "| forest:hwl, random samples |" in said
    assert ("ridge:vec" in said) != ("ridge:hwl" in said)
    assert "](results/fewshot.md)" in said
    document = (folder / "fewshot.md").read_text()
    for expected in (
        "| nearest |  | active | 2 |",
        "## Published by others",
        "NASFLAT's repository",
    ):
        assert expected in document
    assert (folder / "fewshot-own.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_not_run_anew_stays(study: Study, tmp_path: Path) -> None:
    whole = outcomes(study)
    fewshot_report.write([(study, whole)], tmp_path, None)
    new = [o for o in whole if o.method == "nearest"]
    kept = fewshot_report.kept(tmp_path / "fewshot.csv", study, new)
    assert {o.method for o in kept} == {"ridge:vec", "ridge:hwl", "forest:hwl"}
    for method in ("ridge:vec", "forest:hwl"):
        before, after = (
            summary([o for o in found if o.method == method])["mean_spearman"]
            for found in (whole, kept)
        )
        assert after[method]["own"]["8"] == pytest.approx(before[method]["own"]["8"], abs=1e-4)
    assert fewshot_report.kept(tmp_path / "none.csv", study, new) == []


def test_the_figures_are_those_of_the_run(study: Study, tmp_path: Path) -> None:
    found = outcomes(study)
    fewshot_report.write([(study, found)], tmp_path, None)
    with (tmp_path / "fewshot.csv").open() as file:
        lines = list(csv.DictReader(file))
    mine = [o.spearman for o in found if (o.method, o.select, o.samples) == SAME]
    line = next(x for x in lines if (x["method"], x["select"], int(x["samples"])) == SAME)
    assert None not in mine
    assert float(line["spearman"]) == pytest.approx(np.mean([m or 0 for m in mine]), abs=1e-3)
    figures = json.loads((tmp_path / "fewshot.json").read_text())
    told = figures["studies"]["The published tasks"]["active"]["mean_spearman"]
    assert told["ridge:vec"]["own"]["8"] == pytest.approx(np.mean([m or 0 for m in mine]))
    cell = f"{told['ridge:vec']['own']['8']:.3f}".lstrip("0")
    assert cell in (tmp_path / "fewshot.md").read_text()


SAME = ("ridge:vec", "active", 8)


def test_a_readme_without_a_place_is_refused(study: Study, tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("nothing here\n")
    with pytest.raises(UsageError, match="has no place for the table"):
        fewshot_report.write([(study, outcomes(study))], tmp_path / "results", readme)
    assert not (tmp_path / "results").exists()


def test_a_run_that_was_cut_short_goes_on(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, path = outcomes(study), tmp_path / "partial.jsonl"
    first = replace(study, options=replace(study.options, entries=study.options.entries[:2]))
    outcomes(first, Done.kept(path))
    path.write_text(path.read_text() + '{"key": "torn')
    evaluated: list[str] = []
    real = fewshot_run.evaluate
    monkeypatch.setattr(
        fewshot_run, "evaluate", lambda p, e, s: evaluated.append(e.name) or real(p, e, s)
    )
    assert scores(outcomes(study, Done.kept(path))) == scores(whole)
    assert evaluated == ["ridge:hwl", "ridge:hwl", "forest:hwl"]
    Done.kept(path).finish()
    assert not path.exists()


def test_after_a_change_of_the_code_all_is_done_anew(study: Study, tmp_path: Path) -> None:
    path = tmp_path / "partial.jsonl"
    outcomes(study, Done.kept(path))
    lines = path.read_text().splitlines()
    path.write_text("\n".join(["another digest", *lines[1:]]))
    assert not Done.kept(path).outcomes


def test_the_studies_of_the_report(fields: Fields, tmp_path: Path, options: Options) -> None:
    for name in ("nb201", "fbnet"):
        np.savez(tmp_path / f"{name}.npz", **fields)
    with_ours = replace(options, entries=(entry("mixture"), *options.entries))
    made = studies.of([(TASK, tmp_path / "nb201.npz")], tmp_path, with_ours)
    assert [e.method.seeds for e in made[0].options.entries] == [None, 3, 3, 3, 3]
    assert [s.options.pretrain for s in made][:2] == [60, 50]
    assert len(made[2].found) == 2 * studies.SPLITS
    for study in made[1:]:
        assert "mixture" in [e.name for e in study.options.entries]
    without = [s for s in made if not s.options.analytic]
    assert [task.train for task, _ in without[0].found][1] == ("fpga", "raspi4")
