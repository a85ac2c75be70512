"""How far devices are apart: known ones that are too much like a target are taken away."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import task_distance
from benchmarks.tasks import TASKS, own
from tests.benchmarks.conftest import Fields

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path, fields: Fields, monkeypatch: pytest.MonkeyPatch) -> str:
    """`new` is much like `slow`, less like `wide`."""
    np.savez(tmp_path / "made_up.npz", **fields)
    monkeypatch.setitem(TASKS, "made-up", own("made-up", "made_up", ["slow", "wide"], ["new"]))
    return str(tmp_path)


def test_devices_that_are_much_like_the_target_are_taken_away(folder: str, capsys: Capture) -> None:
    words = ["--data", folder, "--task", "made-up", "--method", "nearest", "--seeds", "1", "--json"]
    assert task_distance.main([*words, "--below", "1,.9,.1"]) == 0
    printed = capsys.readouterr()
    whole = json.loads(printed.out)
    alike = {row["known"]: row["spearman"] for row in whole["rows"] if "known" in row}
    assert alike["wide"] < 0.9 < alike["slow"]
    assert whole["summary"]["closest"]["made-up"]["new"] == ["slow", alike["slow"]]
    left = {row["below"]: row["devices"] for row in whole["rows"] if "below" in row}
    assert left == {1: 2, 0.9: 1}
    few = whole["summary"]["few_shot"]["made-up"]["nearest"]
    assert few["0.9"] < few["1"] - 0.02
    assert "new has no training device below 0.1" in printed.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--task", "made-upp"], "no task 'made-upp'; did you mean 'made-up'?"),
        (["--task", "made-up", "--method", "nearesst"], "no method 'nearesst'"),
    ],
)
def test_words_that_nobody_knows_are_refused(
    folder: str, words: list[str], message: str, capsys: Capture
) -> None:
    assert task_distance.main(["--data", folder, *words]) == 2
    assert message in capsys.readouterr().err
