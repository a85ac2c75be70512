"""The benchmark of Sample embeddings, on a small made-up table."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import neural, sample_embedding
from benchmarks.tasks import TASKS, own
from predictors.models.multi_predict import PRETRAINING, Settings


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four devices that run two kinds of work; the new one takes a hundred times as long."""
    rng = np.random.default_rng(0)
    ops = rng.integers(0, 3, (400, 6))
    work = np.stack([(ops == k).sum(1) + 1.0 for k in (1, 2)])
    mixes = np.array([[1.0, 0.1], [0.2, 1.0], [0.6, 0.6], [90.0, 30.0]])
    np.savez(
        tmp_path / "made_up.npz",
        ops=ops.astype(np.int8),
        op_names=np.array(["none", "thin", "thick"]),
        devices=np.array(["a", "b", "c", "slow"]),
        latency_ms=mixes @ work,
    )
    quick = replace(PRETRAINING, learning_rate=4e-3)
    small = Settings(encoder=(32, 16), interaction=64, pretraining=quick)
    cut = replace(neural.BUDGETS["minutes"], multi_predict=small, multi_predict_steps=500)
    monkeypatch.setitem(neural.BUDGETS, "minutes", cut)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setitem(TASKS, "made-up", own("made-up", "made_up", ["a", "b", "c"], ["slow"]))
    return tmp_path


@pytest.mark.slow
def test_another_devices_embedding_misleads(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sample_embedding.LISTED, "made-up", ["b"])
    words = ["--data", str(folder), "--tasks", "made-up", "--seeds", "2", "--json"]
    assert sample_embedding.main(words) == 0
    whole = json.loads(capsys.readouterr().out)
    assert len(whole["rows"]) == 5
    found = whole["summary"]["mean_spearman"]["made-up"]
    assert found["sample"] > found["sample, mixed up"] + 0.02
    assert min(found["sample"], found["table"]) > 0.8


def test_a_task_that_there_is_not_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sample_embedding.main(["--data", str(folder), "--tasks", "made-upp"]) == 2
    assert "made-up" in capsys.readouterr().err
