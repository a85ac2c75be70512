"""The networks that describe a target are measured first, and count as samples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks import published
from benchmarks.evaluate import Options, Prepared, _described
from benchmarks.tasks import own


def test_they_come_first_and_are_known_of_training_devices(table: Path) -> None:
    task = own("own", "own", ["slow", "fast", "wide"], ["new"])
    whole = published.load(table)
    named = replace(whole, describing=np.array([7, 3, 11]))
    case = Prepared.of(named, task, Options((5,), (), pretrain=60)).case
    np.testing.assert_array_equal(case.describing, [7, 3, 11])
    assert {7, 3, 11} <= set(case.described.rows.indices.tolist())
    measured_s = named.column("new").copy()
    measured_s[3] = np.nan
    found = _described(case, np.array([1, 11, 2, 4, 5]), measured_s)
    np.testing.assert_array_equal(found, [7, 11, 1, 2, 4])


def test_without_names_they_are_training_networks(table: Path) -> None:
    task = own("own", "own", ["slow", "fast", "wide"], ["new"])
    case = Prepared.of(published.load(table), task, Options((5,), (), pretrain=60)).case
    assert len(case.describing) == 10
    assert set(case.describing.tolist()) <= set(case.references.rows.indices.tolist())
