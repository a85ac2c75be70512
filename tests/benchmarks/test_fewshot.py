"""The few-shot benchmark as a user runs it, on a small table of a space that nobody built."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import fewshot, tasks
from benchmarks.methods import METHODS
from benchmarks.paper_figures import PUBLISHED
from benchmarks.tasks import TASKS
from predictors import metrics
from tests.benchmarks.conftest import DEVICES, Fields, Refused, Run

SCORES = {"spearman", "kendall", "within_5", "within_10", "coverage_95", "fit_choose_s"}


def test_one_object_with_the_agreed_keys(run: Run) -> None:
    found = run("--method", "mixture,gp,ridge,nearest,flops", "--seeds", "2")
    assert {"machine", "versions", "rows", "summary"} <= set(found)
    summary = found["summary"]
    assert set(summary["mean_spearman"]) == {"mixture", "gp", "ridge", "nearest", "flops"}
    assert set(summary["mean_spearman"]["mixture"]["own:new"]) == {"3", "8"}
    assert set(summary["coverage_95"]) == {"mixture", "gp", "ridge", "nearest", "flops"}
    assert summary["fit_choose_s"] > 0
    assert summary["pretrain_s"] > 0
    assert len(found["rows"]) == 5 * 2
    assert all(set(row) >= SCORES for row in found["rows"])


def test_the_mixture_finds_a_device_between_two(run: Run) -> None:
    found = run("--method", "mixture,nearest", "--seeds", "2")["summary"]
    by_samples = found["mean_spearman"]["mixture"]["own:new"]
    assert by_samples["8"] > 0.95
    assert by_samples["8"] > found["mean_spearman"]["nearest"]["own:new"]["8"]
    assert found["coverage_95"]["mixture"] > 0.8


def test_a_run_is_repeatable(run: Run) -> None:
    first, again = (run()["summary"]["mean_spearman"] for _ in range(2))
    assert first == again


def test_rows_are_per_device_and_the_summary_their_mean(run: Run) -> None:
    found = run("--train", "slow", "--test", "new,fast,wide", "--method", "ridge")
    per_device = [r["spearman"] for r in found["rows"] if r["samples"] == 8]
    assert len(per_device) == 3
    mean = found["summary"]["mean_spearman"]["ridge"]["own:new,fast,wide"]["8"]
    assert mean == pytest.approx(np.mean(per_device))


def test_the_protocol_of_help_tests_on_unseen_networks(run: Run) -> None:
    found = run("--protocol", "help", "--select", "random")
    assert found["summary"]["mean_spearman"]["mixture"]["own:new"]["8"] > 0.9


def test_every_method_runs_or_says_why_not(run: Run) -> None:
    quick = [name for name, method in METHODS.items() if method.seeds is None]
    found = run("--method", ",".join(quick), "--encoding", "all", "--samples", "8")
    ranked = found["summary"]["mean_spearman"]
    assert {"ridge:vec", "ridge:hwl", "ridge:analytic", "ridge:hwlvec"} <= set(ranked)
    assert "ridge:zcp" not in ranked
    assert "ridge:zcp: left out: the table 'own' has no zero-cost proxies" in found["notes"]


def test_one_encoding_keeps_the_name_of_the_method(run: Run) -> None:
    plain, named = run("--method", "ridge", "--encoding", "vec"), run("--method", "ridge:vec")
    assert (
        plain["summary"]["mean_spearman"]["ridge"]
        == (named["summary"]["mean_spearman"]["ridge:vec"])
    )
    assert run("--method", "ridge")["summary"]["mean_spearman"] != plain["summary"]["mean_spearman"]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["forest", "xgboost"])
def test_trees_learn_from_samples(run: Run, method: str) -> None:
    found = run("--method", method, "--encoding", "analytic", "--samples", "30")
    assert found["summary"]["mean_spearman"][method]["own:new"]["30"] > 0.8


def test_active_and_random_samples_are_others(run: Run) -> None:
    chosen = [run("--method", "ridge", "--select", s)["rows"] for s in ("active", "random")]
    assert chosen[0][0]["spearman"] != chosen[1][0]["spearman"]


def test_more_pretraining_is_more(run: Run) -> None:
    few, many = (run("--pretrain", n)["rows"] for n in ("20", "paper"))
    assert few[0]["spearman"] != many[0]["spearman"]


def test_seeds_are_counted_from_the_first(run: Run) -> None:
    one = run("--seed", "3", "--method", "ridge")["rows"][0]
    two = run("--seed", "3", "--seeds", "2", "--method", "ridge")["rows"][0]
    assert (one["seeds"], two["seeds"]) == (1, 2)
    assert one["spearman"] != two["spearman"]


def test_random_splits_of_a_table(table: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    own = ["--data", str(table), "--splits", "3", "--samples", "4", "--method", "nearest"]
    assert fewshot.main([*own, "--json", "--seeds", "1"]) == 0
    assert '"own-splits"' in capsys.readouterr().out


def test_splits_are_drawn_by_the_seed_and_never_overlap() -> None:
    drawn = tasks.splits("own", DEVICES * 1, 20, seed=0)
    assert drawn == tasks.splits("own", DEVICES[::-1], 20, seed=0)
    assert drawn != tasks.splits("own", DEVICES, 20, seed=1)
    assert all(not set(task.train) & set(task.test) for task in drawn)
    assert {device for task in drawn for device in task.test} == set(DEVICES)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--test", "slow"], "target 'slow' is among its own references"),
        (["--test", "newer"], "no device 'newer'; did you mean 'new'?"),
        (["--train", "slow,quick"], "no device 'quick'; known: fast, new, slow, wide"),
        (["--method", "mixtur"], "no method 'mixtur'; did you mean 'mixture'?"),
        (["--method", "ridge:zpc"], "no encoding 'zpc'; did you mean 'zcp'?"),
        (["--method", "mixture:vec"], "the method 'mixture' has its own encoding"),
        (["--method", "ridge:zcp"], "has no zero-cost proxies: give it `zcp` and `zcp_names`"),
        (["--encoding", "zpc"], "no encoding 'zpc'; did you mean 'zcp'?"),
        (["--train", ""], "`--train` and `--test` go together"),
        (["--task", "ND"], "leave out `--task` and `--splits`"),
        (["--splits", "2"], "leave out `--task` and `--splits`"),
        (["--data", "/nowhere/own.npz"], "no published tables at /nowhere/own.npz"),
        (["--samples", "299"], "'new' has 300 measured networks; 299 samples and 3 to judge by"),
        (["--protocol", "help", "--samples", "79"], "79 rows were asked for, but only"),
        (["--protocol", "help", "--pretrain", "299"], "take a smaller `--pretrain`"),
        (["--write", "out"], "`--write` is of the published tasks"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    refused: Refused, more: list[str], message: str
) -> None:
    said = refused(*more)
    assert message in said
    assert said.splitlines()[-1].startswith("fewshot: ")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--samples", "0"], "argument --samples: must be a whole number, 1 or more, got '0'"),
        (
            ["--samples", "5,ten"],
            "argument --samples: must be a whole number, 1 or more, got 'ten'",
        ),
        (["--samples", ","], "argument --samples: must be one or more words"),
        (["--seeds", "0"], "argument --seeds: must be a whole number, 1 or more, got '0'"),
        (["--seeds", "1.5"], "argument --seeds: must be a whole number, 1 or more, got '1.5'"),
        (["--seed", "-1"], "argument --seed: must be a whole number, 0 or more, got '-1'"),
        (["--pretrain", "few"], "argument --pretrain: must be a whole number, 1 or more, or paper"),
        (["--pretrain", "0"], "argument --pretrain: must be a whole number, 1 or more, or paper"),
        (["--splits", "0"], "argument --splits: must be a whole number, 1 or more, got '0'"),
        (["--select", "best"], "argument --select: invalid choice: 'best'"),
        (["--protocol", "mine"], "argument --protocol: invalid choice: 'mine'"),
        (["--method", ""], "argument --method: must be one or more words"),
        (["--colour"], "unrecognized arguments: --colour"),
    ],
)
def test_a_word_of_another_kind_is_named(refused: Refused, more: list[str], message: str) -> None:
    assert message in refused(*more)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--task", "XY"], "no task 'XY'; known: F1, F2, F3, F4, FA, FD, ND, all"),
        (["--train", "a", "--test", "b"], "need `--space NAME` or `--data FILE`"),
        (["--splits", "2", "--task", "ND"], "`--splits` are tasks of their own"),
        (["--task", "ND", "--space", "fbnet"], "tasks ND are of nb201, not of 'fbnet'"),
        (["--splits", "2", "--space", "dart"], "no table"),
    ],
)
def test_tasks_that_do_not_fit_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert fewshot.main(["--data", str(tmp_path), *words]) == 2
    assert message in capsys.readouterr().err


def test_a_file_of_another_space_has_none_of_the_tasks(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fewshot.main(["--data", str(table)]) == 2
    assert "name devices with `--train` and `--test`, or take `--splits`" in capsys.readouterr().err


def test_help_names_what_can_be_asked(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        fewshot.main(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    for word in ("mixture", "hwlvec", "ND", "--splits", "--write"):
        assert word in said


def test_tasks_name_devices_that_the_tables_hold(published) -> None:  # type: ignore[no-untyped-def]
    for task in TASKS.values():
        held = set(published(f"{task.space}.npz")["devices"])
        assert {*task.train, *task.test} <= held
        assert not set(task.train) & set(task.test)


def test_published_figures_are_of_known_tasks() -> None:
    for figure in PUBLISHED:
        assert set(figure.spearman) <= set(TASKS)
        assert all(0 < rho < 1 for rho in figure.spearman.values())
        assert figure.source


@pytest.mark.slow
def test_few_shot_prediction_on_a_published_task(published, capsys) -> None:  # type: ignore[no-untyped-def]
    """FD with few references: far above the published .91 (HELP) and .96 (Multi-Predict)."""
    published("fbnet.npz")
    words = ["--task", "FD", "--pretrain", "300", "--samples", "10", "--seeds", "1", "--json"]
    assert fewshot.main(words) == 0
    assert '"FD": {"10": 0.9' in capsys.readouterr().out


def test_the_score_is_on_networks_without_the_samples(run: Run, fields: Fields) -> None:
    """Nearest with a target that is one reference: its rank correlation is that of the columns."""
    assert len(fields["ops"]) == 300
    found = run("--train", "slow", "--method", "nearest", "--samples", "8")["rows"][0]
    slow, new = fields["latency_ms"][0].astype(float), fields["latency_ms"][3].astype(float)
    whole = metrics.spearman(slow, new)
    assert whole is not None
    assert found["spearman"] == pytest.approx(whole, abs=0.02)
