"""The benchmark of transfer between search spaces, on two small made-up ones."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import space_transfer
from benchmarks.space_transfer import Options
from predictors.models.multi_predict import TRANSFER_PRETRAINING, TransferSettings

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two spaces with the same five devices, all of which run two kinds of work."""
    for name, positions in (("nb201", 6), ("fbnet", 22)):
        rng = np.random.default_rng(positions)
        ops = rng.integers(0, 3, (400, positions))
        work = np.stack([(ops == k).sum(1) + 1.0 for k in (1, 2)])
        mixes = np.array([[1.0, 0.1], [0.2, 1.0], [0.6, 0.6], [0.1, 0.9], [0.7, 0.3]])
        np.savez(
            tmp_path / f"{name}.npz",
            ops=ops.astype(np.int8),
            op_names=np.array(["none", "thin", "thick"]),
            devices=np.array(["a", "b", "c", "d", "target"]),
            latency_ms=mixes @ work,
        )
    return tmp_path


def test_what_was_learnt_in_one_space_helps_in_the_other(folder: Path) -> None:
    quick = TransferSettings(width=32, pretraining=replace(TRANSFER_PRETRAINING, epochs=60))
    rows = list(space_transfer.run(folder, Options(("target",), (4,), range(3), quick)))
    assert len(rows) == 6
    for way in ("fbnet to nb201", "nb201 to fbnet"):
        found = space_transfer.summary(rows)["mean_spearman"][way]
        assert found["transfer"]["4"] > 0.97
        assert found["transfer"]["4"] > found["hwl"]["4"]
        assert found["transfer"]["4"] > found["vec"]["4"] + 0.1


def test_one_object_for_a_program(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    few = Options(("target",), (3,), range(1), TransferSettings(width=8))
    words = ["--data", str(folder), "--devices", "target", "--samples", "3", "--seeds", "1"]
    monkeypatch.setattr(space_transfer, "Options", lambda *asked: replace(few, samples=asked[1]))
    assert space_transfer.main([*words, "--json"]) == 0
    whole = json.loads(capsys.readouterr().out)
    assert whole["benchmark"] == "space_transfer"
    assert {row["method"] for row in whole["rows"]} == {"transfer", "hwl", "vec"}


def test_a_device_that_no_table_holds_is_told(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert space_transfer.main(["--data", str(folder), "--devices", "tpu"]) == 2
    assert "no device 'tpu'" in capsys.readouterr().err
