"""A search that trains networks one after the other: whom it trains, and how it is judged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import accuracy_search
from benchmarks.accuracy_methods import Learner
from benchmarks.accuracy_search import Hunt
from predictors import FloatArray
from predictors.models.plain import Fitted
from tests.benchmarks.accuracy_tables import NETWORKS, fields, save, with_graphs

Capture = pytest.CaptureFixture[str]


class Told:
    """Knows beforehand that large is good, and finds out from samples that small is."""

    def known(self, x: FloatArray) -> FloatArray:
        return np.asarray(x[:, 0])

    def __call__(self, x: FloatArray, values: FloatArray) -> Fitted:
        del x, values
        return lambda new: np.asarray(-new[:, 0])


def test_the_best_by_prediction_are_trained_next() -> None:
    x = np.arange(10.0)[:, None]
    hunt = Hunt(np.arange(10.0), np.arange(10), Learner(Told(), x))
    assert hunt.order(2, 5, seed=0).tolist() == [9, 8, 0, 1, 2]
    as_it_is = Hunt(np.arange(10.0), np.arange(10), Learner(Told(), x), adapts=False)
    assert as_it_is.order(2, 5, seed=0).tolist() == [9, 8, 7, 6, 5]
    assert len(set(Hunt(x[:, 0], np.arange(10), None).order(2, 10, seed=0))) == 10


def test_every_predictor_that_starts_from_nothing(tmp_path: Path, capsys: Capture) -> None:
    path = save(tmp_path / "own.npz", fields())
    words = ["scratch", "--data", path, "--networks", "20", "--draws", "1", "--json"]
    assert accuracy_search.main([*words, "--plot", str(tmp_path / "plot.png")]) == 0
    whole = json.loads(capsys.readouterr().out)
    found = whole["summary"]["own"]
    assert set(found) == set(accuracy_search.KINDS["scratch"].methods)
    assert found["mixture"]["better"]["20"] <= found["mixture"]["better"]["10"] < 1
    assert (tmp_path / "plot.png").stat().st_size > 10_000


def test_a_predictor_that_learnt_from_other_tasks(tmp_path: Path, capsys: Capture) -> None:
    path = save(tmp_path / "own.npz", with_graphs(fields()))
    words = ["tasks", "--data", path, "--method", "chance,mixture", "--draws", "1", "--json"]
    assert accuracy_search.main(words) == 0
    whole = json.loads(capsys.readouterr().out)
    assert {row["task"] for row in whole["rows"]} == {"class", "loss"}
    found = whole["summary"]["own"]
    assert found["mixture"]["better"]["1"] < found["chance"]["better"]["1"]


def test_what_does_not_fit_is_refused(tmp_path: Path, capsys: Capture) -> None:
    path = save(tmp_path / "own.npz", fields())
    assert accuracy_search.main(["scratch", "--data", path, "--networks", "90"]) == 2
    assert f"at most the {NETWORKS} that are searched" in capsys.readouterr().err
    assert accuracy_search.main(["tasks", "--data", path, "--method", "mame"]) == 2
    assert "no method 'mame'; did you mean 'maml'?" in capsys.readouterr().err
