"""How rows of two runs become the ratios against TVM's tracker."""

from __future__ import annotations

import pytest

from benchmarks.throughput import PRECISIONS, SETTINGS, WITHIN, known, paired, summarised
from farm.core.values import Network

NAMES = [Network("nb201", str(number)) for number in range(3)]


def run(what, per_minute, device_s, latencies_s):
    row = {"what": what, "networks": 3, "per_minute": per_minute, "device_s": device_s}
    return row, dict(zip(NAMES, latencies_s, strict=True))


def test_two_runs_are_a_row():
    first, second = run("x", 60.0, 1.0, (1.0, 2.0, 3.0)), run("x", 30.0, 3.0, (1.02, 2.04, 3.06))
    row = paired(first, second)
    assert (row["per_minute"], row["device_s"]) == (45.0, 2.0)
    assert row["median_rel_diff"] == pytest.approx(0.02 / 1.01)
    assert row["cost_s"] == pytest.approx(2.0 * 1.98**2, rel=1e-3)


def test_who_is_not_at_5_percent_has_to_measure_more_often():
    assert known({"per_minute": 60.0, "p95_rel_diff": WITHIN / 3}) == 60.0
    assert known({"per_minute": 60.0, "p95_rel_diff": 2 * WITHIN}) == pytest.approx(15.0)


def test_each_side_is_judged_by_its_best():
    rows = [{"what": "farm, cold", "per_minute": 20.0}]
    rows.append({"what": "tracker, stock", "per_minute": 5.0})
    sides = ("farm", [f"{p:.0%}" for p in PRECISIONS], 90.0), ("tracker", SETTINGS, 60.0)
    for side, settings, fastest in sides:
        for number, setting in enumerate(settings, 1):
            speed = {"per_minute": fastest / number, "p95_rel_diff": 2 * WITHIN / number}
            rows.append({"what": f"{side}, {setting}", **speed, "cost_s": fastest / number})
    assert summarised(rows) == {
        "ratio_precompiled": pytest.approx(45.0 / 30.0),
        "ratio_as_they_are": 90.0 / 60.0,
        # A network is compiled in 11 s, and known after 2 s of the second setting; ours four times.
        "ratio_with_compile": pytest.approx((20.0 / 4) / (60 / (11 + 2))),
        "ratio_with_compile_as_they_are": 4.0,
        "ratio_equal_precision": pytest.approx(45.0 / 15.0),
    }
