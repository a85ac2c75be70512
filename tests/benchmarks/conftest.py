"""A small latency table of a search space that nobody built, and ways to spoil it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import fewshot

DEVICES = ["slow", "fast", "wide", "new"]

Fields = dict[str, np.ndarray]
Run = Callable[..., dict[str, Any]]
Refused = Callable[..., str]


@pytest.fixture
def fields() -> Fields:
    """300 networks of five positions and three operations; `new` is between `slow` and `wide`."""
    rng = np.random.default_rng(0)
    ops = rng.integers(0, 3, (300, 5))
    macs = np.array([0.0, 1.0, 4.0])[ops].sum(1) + 1
    kernels = (ops > 0).sum(1) + 1.0
    columns = [macs, macs + 5, kernels, macs + 2 * kernels]
    latency_ms = np.array(columns) * np.exp(rng.normal(0, 0.01, (4, 300)))
    return {
        "ops": ops.astype(np.int8),
        "op_names": np.array(["none", "thin", "thick"]),
        "devices": np.array(DEVICES),
        "latency_ms": latency_ms.astype(np.float32),
        "features": np.column_stack([macs, kernels]),
        "feature_names": np.array(["macs", "kernels"]),
    }


@pytest.fixture
def table(tmp_path: Path, fields: Fields) -> Path:
    """Where `run` and `refused` look; rewritten by `save`."""
    np.savez(tmp_path / "own.npz", **fields)
    return tmp_path / "own.npz"


@pytest.fixture
def save(table: Path) -> Callable[[Fields], None]:
    return lambda fields: np.savez(table, **fields)


def words(table: Path, more: tuple[str, ...]) -> list[str]:
    own = ["--data", str(table), "--train", "slow,fast,wide", "--test", "new"]
    return [*own, "--pretrain", "80", "--samples", "3,8", "--seeds", "1", "--json", *more]


@pytest.fixture
def run(table: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command on the table, with more words: its one object, with `notes` from stderr."""

    def command(*more: str) -> dict[str, Any]:
        assert fewshot.main(words(table, more)) == 0
        printed = capsys.readouterr()
        return {**json.loads(printed.out), "notes": printed.err}

    return command


@pytest.fixture
def refused(table: Path, capsys: pytest.CaptureFixture[str]) -> Refused:
    """The same for a run that must fail with exit code 2 and say nothing on stdout: its message."""

    def command(*more: str) -> str:
        try:
            code = fewshot.main(words(table, more))
        except SystemExit as exit_:
            code = int(str(exit_.code))
        printed = capsys.readouterr()
        assert code == 2
        assert not printed.out
        return printed.err

    return command
