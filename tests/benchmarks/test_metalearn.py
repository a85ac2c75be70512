"""Meta-learned predictors: one object for a program, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import latency_tasks, metalearn, metalearn_report, metalearn_synthetic
from benchmarks.accuracy_file import read
from benchmarks.meta_methods import METHODS, Case
from farm.core.errors import UsageError
from predictors.models.meta import Settings
from tests.benchmarks.accuracy_tables import NETWORKS, fields, save, with_graphs

Capture = pytest.CaptureFixture[str]
SMALL = ["--width", "16", "--depth", "2", "--iterations", "3", "--seeds", "1"]
SMALL += ["--starts", "2", "--json"]


@pytest.mark.slow
def test_every_method_on_a_table_with_graphs(tmp_path: Path, capsys: Capture) -> None:
    path = save(tmp_path / "own.npz", with_graphs(fields()))
    assert metalearn.main(["--data", path, "--samples", "0,5", *SMALL]) == 0
    whole = json.loads(capsys.readouterr().out)
    assert {"machine", "versions", "rows", "summary"} <= set(whole)
    assert whole["summary"]["train_s"] > 0
    found = whole["summary"]["spearman"]
    assert set(found) == set(METHODS)
    assert all(set(found[method]) == {"class", "loss"} for method in found)
    assert found["mixture"]["loss"] > 0.7
    without = {row["method"] for row in whole["rows"] if row["samples"] == 0}
    assert without == set(METHODS) - {"random"}


def test_nobody_is_judged_on_networks_that_were_learnt(tmp_path: Path) -> None:
    own = read(Path(save(tmp_path / "own.npz", with_graphs(fields()))))
    other = read(Path(save(tmp_path / "other.npz", with_graphs(fields(1)))))
    inside = Case.of(own, "class", [], Settings())
    learnt = inside.task_of(*inside.others[0])
    assert [name for _, name in inside.others] == ["loss"]
    assert len(inside.fresh) + len(learnt.values) == NETWORKS
    assert not set(own.accuracy[1][inside.fresh]) & set(learnt.values)
    outside = Case.of(own, "class", [other], Settings())
    assert len(outside.fresh) == NETWORKS
    assert len(outside.task_of(*outside.others[0]).values) == NETWORKS


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--samples", "28"], "that nothing was learnt on, so at most 27, got 28"),
        (["--samples", "1"], "`--samples` must be 0, or 2 or more, got 1"),
        (["--method", "mame"], "no method 'mame'; did you mean 'maml'?"),
        (["--method", "random"], "a graph network needs graphs, and 'bare' is none of nb101"),
    ],
)
def test_words_that_do_not_fit_are_refused(
    tmp_path: Path, words: list[str], message: str, capsys: Capture
) -> None:
    path = save(tmp_path / "accuracy_bare.npz", fields())
    assert metalearn.main(["--data", path, *words]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert not printed.out


def test_one_task_alone_is_refused(tmp_path: Path, capsys: Capture) -> None:
    found = fields()
    alone = {**found, **{name: found[name][:1] for name in ("tasks", "accuracy", "zcp")}}
    assert metalearn.main(["--data", save(tmp_path / "own.npz", alone)]) == 2
    assert "needs another task than 'class'" in capsys.readouterr().err


def test_published_figures_stand_beside_what_was_found() -> None:
    space = ("tb101_micro", ("tb101_micro",))
    row = {"table": space[0], "learnt_from": [space[0]], "task": "jigsaw", "method": "maml"}
    rows = [{**row, "samples": 5, "spearman": 0.7}, {**row, "samples": 25, "spearman": None}]
    lines = list(metalearn_report.table(space, rows))
    assert "| `maml` | 5/25 | .700/– | .700/– |" in lines
    assert "| MP-NAS, published | 0/5/25/50 | .760/.770/.790/.800 | .760/.770/.790/.800 |" in lines


def test_made_up_tasks_are_as_alike_as_they_are_asked_to_be(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    own = {**fields(), "tasks": np.array(["cifar100", "loss", "other"])}
    file = read(Path(save(tmp_path / "own.npz", own)))
    wide = replace(file, accuracy=rng.normal(size=(3, 4000)), code=np.zeros((4000, 1), int))
    made = metalearn_synthetic.table(wide, 0.6, tasks=2, noise=1, seed=0)
    alike = np.corrcoef(made.accuracy)
    assert made.tasks == ("new", "task 1", "task 2", "task 3")
    assert alike[0, 1] == pytest.approx(0.6, abs=0.04) == alike[1, 2]
    assert alike[0, 3] == pytest.approx(0, abs=0.05)


def latencies(path: Path) -> Path:
    """Four networks of NAS-Bench-201 in the layout of its table of latencies."""
    np.savez(
        path,
        ops=np.array([[3, 0, 2, 4, 1, 0], [1] * 6, [2] * 6, [3] * 6], np.int8),
        op_names=["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"],
        edges=["0->1", "0->2", "1->2", "0->3", "1->3", "2->3"],
        devices=["pi"],
        latency_ms=np.array([[1.5, 1, np.nan, 3]], np.float32),
        acc=np.arange(12.0).reshape(4, 3),
    )
    return path


def test_latencies_are_tasks_beside_accuracies(tmp_path: Path) -> None:
    found = latency_tasks.find(latencies(tmp_path / "nb201.npz"))
    assert found.tasks == ("cifar10", "cifar100", "ImageNet16-120", "pi")
    np.testing.assert_array_equal(found.accuracy[:, 0], [0, 1, 2, 1.5])
    assert np.isnan(found.accuracy[3, 2])
    # 0->1 is a convolution, which the skip on 1->3 reads; 0->3 pools; 2->3 is nothing.
    assert set(found.graphs[0].nodes) == {"input", "conv_3x3", "avg_pool", "skip", "output"}
    assert set(found.graphs[0].edges) == {(0, 1), (0, 2), (1, 3), (2, 4), (3, 4)}
    few = found.some(["pi"], np.array([0, 3]))
    np.testing.assert_array_equal(few.accuracy, [[1.5, 3]])
    assert few.graphs == (found.graphs[0], found.graphs[3])


def test_latencies_of_another_space_are_no_tasks(tmp_path: Path) -> None:
    path = tmp_path / "own.npz"
    np.savez(path, latency_ms=np.ones((1, 3)), devices=["pi"])
    with pytest.raises(UsageError, match="latencies are tasks for NAS-Bench-201 alone"):
        latency_tasks.find(path)
