"""The published neural predictors as methods of the benchmark, with training for seconds."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import neural
from predictors.models import brp_nas, help, multi_predict
from tests.benchmarks.conftest import Run
from tests.neural import QUICK_NASFLAT

pytestmark = pytest.mark.slow

NEURAL = ("multi_predict", "multi_predict_sample", "multi_predict_index", "help", "nasflat")


@pytest.fixture(autouse=True)
def seconds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Training enough to rank a made-up table."""
    quick = neural.Budget(
        multi_predict=multi_predict.Settings(),
        help=help.Settings(width=32, queries=40, learning_rate=5e-3, draws=2),
        brp_nas=brp_nas.Settings(width=16, training=replace(brp_nas.TRAINING, epochs=10)),
        nasflat=QUICK_NASFLAT,
        multi_predict_steps=300,
        help_episodes=60,
        nasflat_steps=60,
    )
    monkeypatch.setitem(neural.BUDGETS, "minutes", quick)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.mark.parametrize("method", NEURAL)
def test_they_learn_from_training_devices(run: Run, method: str) -> None:
    found = run("--method", method)["summary"]["mean_spearman"][method]
    assert found["own:new"]["8"] > 0.75


def test_one_that_knows_no_other_device_runs_too(run: Run) -> None:
    found = run("--method", "brp_nas")["summary"]
    assert min(found["mean_spearman"]["brp_nas"]["own:new"].values()) > 0.3
    assert found["coverage_95"]["brp_nas"] > 0.9


def test_what_was_pretrained_is_kept(run: Run) -> None:
    first, again = (run("--method", "multi_predict") for _ in range(2))
    assert first["summary"]["mean_spearman"] == again["summary"]["mean_spearman"]
    assert "pretrained before" not in first["notes"]
    assert "pretrained before" in again["notes"]


def test_how_long_they_were_trained_is_said(run: Run) -> None:
    notes = run("--method", "multi_predict,nasflat")["notes"]
    assert "multi_predict: 150 of the paper's 250 epochs" in notes
    assert "nasflat: 30 of the paper's 150 epochs" in notes


def test_graphs_of_cells_are_those_of_the_published_table(
    published: Callable[[str], Mapping[str, Any]],
) -> None:
    """The order of operations in the file decides which edge each is on."""
    edges = published("nb201.npz")["edges"]
    named = [tuple(map(int, str(edge).split("->"))) for edge in edges]
    assert named == list(neural.EDGES["nb201"])


def test_torch_is_loaded_for_them_alone() -> None:
    code = "import sys, benchmarks.fewshot; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
