"""Few-shot accuracies: one object for a program, and files that are none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import accuracy
from benchmarks.accuracy_file import read
from farm.core.errors import UsageError
from tests.benchmarks.accuracy_tables import NETWORKS, fields, save, with_graphs

Capture = pytest.CaptureFixture[str]


@pytest.mark.slow
def test_a_table_that_nobody_has_seen(tmp_path: Path, capsys: Capture) -> None:
    words = ["--data", save(tmp_path / "accuracy_macro.npz", fields()), "--samples", "4,8"]
    other = save(tmp_path / "accuracy_micro.npz", fields(1))
    assert accuracy.main([*words, "--pretrain", other, "--seeds", "1", "--json"]) == 0
    printed = capsys.readouterr()
    whole = json.loads(printed.out)
    assert {"machine", "versions", "rows", "summary"} <= set(whole)
    found = whole["summary"]["spearman"]
    assert set(found) == set(accuracy.QUICK)
    for method in found:
        assert set(found[method]) == {"class", "loss"}
        assert set(found[method]["loss"]) == {"4", "8"}
    for method in ("zcp", "mixture", "zcp_transfer", "mixture_transfer"):
        assert found[method]["loss"]["8"] > 0.7
    assert whole["summary"]["transfer_better"]["4"] == 1.0
    sources = {row["from"] for row in whole["rows"] if row["method"] == "zcp_transfer"}
    assert sources == {"micro/class", "micro/loss"}
    assert "task 'flat' is left out: its accuracy is 7 for every network" in printed.err


@pytest.mark.slow
def test_a_task_is_not_learnt_from_itself_and_graphs_are_optional(
    tmp_path: Path, capsys: Capture
) -> None:
    path = save(tmp_path / "own.npz", fields())
    words = ["--data", path, "--pretrain", path, "--samples", "4", "--seeds", "1", "--json"]
    assert accuracy.main([*words, "--method", "zcp_transfer,brp_nas"]) == 0
    printed = capsys.readouterr()
    pairs = {(row["task"], row["from"]) for row in json.loads(printed.out)["rows"]}
    assert pairs == {("class", "own/loss"), ("loss", "own/class")}
    assert "brp_nas is left out, the file has no `graphs`" in printed.err


def test_proxies_that_do_not_apply_are_missing(tmp_path: Path) -> None:
    file = read(Path(save(tmp_path / "own.npz", fields())))
    assert np.isnan(file.zcp[0, [3, 4, 5], [1, 0, 0]]).all()
    assert np.isnan(file.zcp[..., 2]).all()
    assert np.isfinite(file.zcp[..., :2]).sum() == 2 * (2 * NETWORKS - 3)


def test_proxies_can_be_left_out(tmp_path: Path) -> None:
    file = read(Path(save(tmp_path / "own.npz", fields())))
    fewer = file.without(["plain"])
    assert fewer.zcp_names == ("synflow", "epe_nas")
    np.testing.assert_array_equal(fewer.zcp, file.zcp[..., [0, 2]])


def test_a_table_without_proxies_is_predicted_from_its_code(
    tmp_path: Path, capsys: Capture
) -> None:
    bare = {name: values for name, values in fields().items() if not name.startswith("zcp")}
    words = ["--data", save(tmp_path / "own.npz", bare), "--samples", "20", "--seeds", "1"]
    assert accuracy.main([*words, "--method", "zcp,mixture", "--json"]) == 0
    printed = capsys.readouterr()
    assert "zcp is left out" in printed.err
    assert json.loads(printed.out)["summary"]["spearman"]["mixture"]["class"]["20"] > 0.5


BROKEN = {
    "accuracy": (lambda f: f["accuracy"].T, "`accuracy` must be (3, N)"),
    "zcp": (lambda f: f["zcp"][0], "`zcp` must be (3, 60, 3)"),
    "code": (lambda f: f["code"] + 0.5, "`code` must be (60, ...) whole numbers"),
    "tasks": (lambda _: np.array(["a", "a", "b"]), "`tasks` must be different names, got ['a']"),
    "graphs": (
        lambda f: np.char.replace(with_graphs(f)["graphs"], "[1, 7]", "[1, 7], [7, 1]"),
        "network 0: a graph must have no cycle",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_does_not_fit_is_refused(tmp_path: Path, name: str, capsys: Capture) -> None:
    spoil, message = BROKEN[name]
    path = save(tmp_path / "own.npz", {**fields(), name: spoil(fields())})
    assert accuracy.main(["--data", path]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert not printed.out


def test_a_table_in_which_nothing_ranks_is_refused(tmp_path: Path) -> None:
    flat = fields()["accuracy"][[2, 2, 2]]
    path = Path(save(tmp_path / "own.npz", {**fields(), "accuracy": flat}))
    with pytest.raises(UsageError, match="at least one task must have 3 different networks"):
        read(path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--samples", "58"], "so at most 57, got 58"),
        (["--samples", "1"], "`--samples` must be 2 or more, got 1"),
        (["--method", "zcp_transfer"], "learn from other tasks: name them, `--pretrain`"),
        (["--task", "lose"], "no task 'lose'; did you mean 'loss'?"),
        (["--without", "sinflow"], "no proxy 'sinflow'; did you mean 'synflow'?"),
        (["--method", "vac"], "no method 'vac'; did you mean 'vec'?"),
        (["--pretrain", "nowhere.npz"], "no table"),
    ],
)
def test_words_that_do_not_fit_are_refused(
    tmp_path: Path, words: list[str], message: str, capsys: Capture
) -> None:
    path = save(tmp_path / "own.npz", fields())
    assert accuracy.main(["--data", path, *words]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert not printed.out
