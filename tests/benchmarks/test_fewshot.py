"""The few-shot benchmark as a user runs it, on a small table of a space that nobody built."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import fewshot, published
from benchmarks.tasks import TASKS
from farm.errors import UsageError

DEVICES = ["slow", "fast", "wide", "new"]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """400 networks of five positions and three operations; `new` is between `slow` and `wide`."""
    rng = np.random.default_rng(0)
    ops = rng.integers(0, 3, (400, 5))
    macs = np.array([0.0, 1.0, 4.0])[ops].sum(1) + 1
    kernels = (ops > 0).sum(1) + 1.0
    columns = [macs, macs + 5, kernels, macs + 2 * kernels]
    latency_ms = np.array(columns) * np.exp(rng.normal(0, 0.01, (4, 400)))
    path = tmp_path / "own.npz"
    np.savez(
        path,
        ops=ops.astype(np.int8),
        op_names=np.array(["none", "thin", "thick"]),
        devices=np.array(DEVICES),
        latency_ms=latency_ms.astype(np.float32),
        features=np.column_stack([macs, kernels]),
        feature_names=np.array(["macs", "kernels"]),
    )
    return path


def fields(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as data:
        return dict(data)


def arguments(table: Path, *more: str) -> list[str]:
    own = ["--data", str(table), "--train", "slow,fast,wide", "--test", "new"]
    return [*own, "--pretrain", "100", "--samples", "3,8", "--seeds", "2", "--json", *more]


def run(capsys: pytest.CaptureFixture[str], words: list[str]) -> dict:
    assert fewshot.main(words) == 0
    return json.loads(capsys.readouterr().out)


def test_one_object_with_the_agreed_keys(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = run(capsys, arguments(table, "--method", "mixture,gp,ridge,nearest,flops"))
    assert {"machine", "versions", "rows", "summary"} <= set(found)
    summary = found["summary"]
    assert set(summary["mean_spearman"]) == {"mixture", "gp", "ridge", "nearest", "flops"}
    assert set(summary["mean_spearman"]["mixture"]["own:new"]) == {"3", "8"}
    assert set(summary["coverage_95"]) == {"mixture", "gp", "ridge", "nearest", "flops"}
    assert summary["fit_choose_s"] > 0
    assert summary["pretrain_s"] > 0
    assert len(found["rows"]) == 5 * 2


def test_the_mixture_finds_a_device_between_two(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = arguments(table, "--method", "mixture,nearest", "--encoding", "vec")
    found = run(capsys, words)["summary"]
    by_samples = found["mean_spearman"]["mixture"]["own:new"]
    assert by_samples["8"] > 0.95
    assert by_samples["8"] > found["mean_spearman"]["nearest"]["own:new"]["8"]
    assert found["coverage_95"]["mixture"] > 0.8


def test_a_run_is_repeatable(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, again = (run(capsys, arguments(table))["summary"]["mean_spearman"] for _ in range(2))
    assert first == again


def test_the_protocol_of_help_tests_on_unseen_networks(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run(capsys, arguments(table, "--protocol", "help", "--select", "random"))
    assert found["summary"]["mean_spearman"]["mixture"]["own:new"]["8"] > 0.9


@pytest.mark.parametrize("missing", ["features", "ops"])
def test_a_table_may_lack_costs_or_names_its_cells(
    table: Path, missing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    left = fields(table)
    codes = left["ops"]
    left.pop(missing)
    if missing == "ops":
        names = left.pop("op_names")
        left["arch_str"] = np.array(["+".join(names[row]) for row in codes])
    np.savez(table, **left)
    found = run(capsys, arguments(table))
    assert found["summary"]["mean_spearman"]["mixture"]["own:new"]["8"] > 0.9


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--test", "slow"], "target 'slow' is among its own references"),
        (["--test", "newer"], "no device 'newer'; did you mean 'new'?"),
        (["--method", "mixtur"], "no method 'mixtur'; did you mean 'mixture'?"),
        (["--encoding", "zpc"], "no encoding 'zpc'"),
        (["--train", ""], "`--train` and `--test` go together"),
        (["--data", "/nowhere/own.npz"], "no published tables at /nowhere/own.npz"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    table: Path, more: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fewshot.main(arguments(table, *more)) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert not printed.out


def test_an_unknown_task_offers_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert fewshot.main(["--task", "XY"]) == 2
    assert "no task 'XY'; known: F1, F2, F3, F4, FA, FD, ND, all" in capsys.readouterr().err


def test_a_file_without_latencies_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "bad.npz", devices=np.array(["a"]))
    with pytest.raises(UsageError, match="has no `latency_ms`; it holds devices"):
        published.load(tmp_path / "bad.npz")


def test_tasks_name_devices_that_the_tables_hold(published) -> None:  # type: ignore[no-untyped-def]
    for task in TASKS.values():
        held = set(published(f"{task.space}.npz")["devices"])
        assert {*task.train, *task.test} <= held
        assert not set(task.train) & set(task.test)
