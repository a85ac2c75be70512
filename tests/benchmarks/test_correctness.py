"""The benchmark that compares outputs, on a few networks, and what it would see."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import correctness
from farm.core.values import Artifact

pytestmark = pytest.mark.slow


def run(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    correctness.main([*words, "--json"])
    summary: dict[str, object] = json.loads(capsys.readouterr().out)["summary"]
    return summary


def test_all_outputs_of_a_random_network_are_right(capsys: pytest.CaptureFixture[str]) -> None:
    summary = run(capsys, "--networks", "1", "--seed", "1")
    assert summary["host_networks"] == 1
    assert 0 < float(str(summary["host_worst_deviation"])) < float(str(summary["tolerance"])) / 10
    assert summary["aarch64_networks"] == summary["cuda_networks"] == 0


def test_an_output_that_is_off_is_seen(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    true_output = correctness._output

    def last_is_off(artifact: Artifact) -> np.ndarray:
        output = true_output(artifact).copy()
        output[-1] += 0.01 * np.abs(output).max()
        return output

    monkeypatch.setattr(correctness, "_output", last_is_off)
    summary = run(capsys, "--networks", "1")
    assert summary["host_worst_deviation"] == pytest.approx(0.01, rel=0.05)
