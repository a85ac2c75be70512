"""The arithmetic of the benchmark of repeatability; that it runs is seen by running it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import fidelity
from farm.core.values import Network
from farm.measurement.record import Block, Measurement, MeasureSpec


def measured(*latencies_s: float, slowdown: tuple[float, ...] = ()) -> Measurement:
    """A session with one block for each latency."""
    return Measurement(
        network=Network("nb201", "a"),
        device="cpu1",
        fingerprint="f",
        build_key="k",
        spec=MeasureSpec(),
        blocks=tuple(Block((s,), 10, {}, session=i) for i, s in enumerate(latencies_s)),
        warmup_s=tuple((s,) for s in latencies_s),
        exact=False,
        device_s=2.0,
        measured_at="2026-01-01T00:00:00+00:00",
        warmup_taken_s=0.5,
        slowdown=slowdown,
    )


def test_campaigns_are_compared_network_by_network():
    found = fidelity.differences(np.array([1.0, 2.0, 4.0]), np.array([1.01, 2.0, 3.96]))
    assert found["median_rel_diff"] == pytest.approx(0.01 / 1.005)
    assert found["p95_rel_diff"] == pytest.approx(0.01005, rel=0.01)
    assert found["spearman"] == 1.0


def test_a_reference_joins_the_sessions_of_its_halves_each_at_its_own_speed():
    halves = [
        [(measured(1.0, 1.0, 1.2), 0.0)],
        [(measured(2.4, 2.2, slowdown=(2.0, 2.0)), 0.0)],
    ]
    assert fidelity.reference_s(halves) == pytest.approx(1.1)


def test_a_campaign_costs_what_its_controls_cost():
    both = [measured(0.01, 0.01), replace(measured(0.02, 0.02), device_s=4.0)]
    found = fidelity.summarised([(both[0], 1.0), (both[1], 1.0)])
    assert found.device_s.tolist() == [3.0, 5.0]
    timed_s = sum(m.timed_s for m in both)
    assert found.timed_fraction == pytest.approx(timed_s / 6.0)
    assert timed_s == pytest.approx(2 * 0.5 + 0.2 + 0.02 + 0.4 + 0.04)
