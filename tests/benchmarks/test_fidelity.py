"""The arithmetic of the benchmark of repeatability; that it runs is seen by running it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import fidelity
from farm.core.values import Network
from farm.measurement.drift_correction import Baseline
from farm.measurement.record import Block, Control, Measurement
from farm.measurement.spec import MeasureSpec

CONTROL = ("nb201/c", "k")


def measured(*latencies_s: float, control_s: Sequence[float] = ()) -> Measurement:
    """A session with one block for each latency, and what a control network took in it, which takes
    a second at the baseline."""
    rows = tuple((latency_s,) for latency_s in control_s)
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
        controls=(Control(CONTROL, rows, 1.0),) if rows else (),
    )


def test_campaigns_are_compared_network_by_network():
    found = fidelity.differences(np.array([1.0, 2.0, 4.0]), np.array([1.01, 2.0, 3.96]))
    assert found["median_rel_diff"] == pytest.approx(0.01 / 1.005)
    assert found["p95_rel_diff"] == pytest.approx(0.01005, rel=0.01)
    assert found["spearman"] == 1.0


def test_a_reference_joins_the_sessions_of_its_halves_with_what_the_controls_did_in_them():
    """Twice as slow in the second half, where the fastest quarter of all ten sessions is not."""
    first = [1.0, 1.02, 1.04, 1.1, 1.2]
    second = [2 * latency_s for latency_s in first]
    halves = [
        [(measured(*first, control_s=[1.0] * 5), 0.0)],
        [(measured(*second, control_s=[2.0] * 5), 0.0)],
    ]
    (found,) = [fidelity.joined([m for m, _ in both]) for both in zip(*halves, strict=True)]
    assert [b.session for b in found.blocks] == list(range(10))
    assert found.controls[0].blocks_s == ((1.0,),) * 5 + ((2.0,),) * 5
    assert len(found.warmup_s) == 10
    expected = (1.0 + 1.02 + 0.5 * 1.04) / 2.5
    assert fidelity.reference_s(halves) == pytest.approx([expected])
    slow_only = [halves[1], halves[1]]
    assert fidelity.reference_s(slow_only) == pytest.approx([(2 * 1.0 + 0.5 * 1.02) / 2.5])


def test_a_reference_is_against_the_controls_that_both_halves_have():
    halves = [[(measured(1.0, 1.0), 0.0)], [(measured(1.0, 1.0, control_s=[2.0, 2.0]), 0.0)]]
    assert fidelity.reference_s(halves) == pytest.approx([1.0])


def test_campaigns_are_told_at_the_baseline_that_all_of_them_refined():
    early = measured(1.5, 1.5, control_s=[1.5, 1.5])
    fixed = {"f": Baseline({CONTROL: (2.0,) * 5})}
    ((later, share_s),) = fidelity.told([(early, 0.5)], fixed)
    assert (early.latency_s, later.latency_s, share_s) == pytest.approx((1.0, 2.0, 0.5))


def test_a_campaign_costs_what_its_controls_cost():
    both = [measured(0.01, 0.01), replace(measured(0.02, 0.02), device_s=4.0)]
    found = fidelity.summarised([(both[0], 1.0), (both[1], 1.0)])
    assert found.device_s.tolist() == [3.0, 5.0]
    timed_s = sum(m.timed_s for m in both)
    assert found.timed_fraction == pytest.approx(timed_s / 6.0)
    assert timed_s == pytest.approx(2 * 0.5 + 0.2 + 0.02 + 0.4 + 0.04)


def test_fresh_stores_are_compared_each_at_its_own_baseline(monkeypatch):
    """The second took networks and its baseline for a tenth slower, so that both factors tell."""
    stores = iter([(1.0, 1.0), (1.1, 1.1), (1.1, 1.0)])

    def campaign(_networks, _spec, baseline):
        latency_s, level_s = next(stores)
        baseline["f"] = Baseline({CONTROL: (level_s,) * 5})
        return [(measured(latency_s, latency_s, control_s=[1.1, 1.1]), 0.0)] * 3

    monkeypatch.setattr(fidelity, "farms_campaign", campaign)
    lab = fidelity.Lab([], [])
    assert fidelity.common_factors(lab, 3) == pytest.approx([0.21, 1 - 1 / 1.1])


def test_baselines_are_of_a_fingerprint_and_of_control_networks_only():
    control, other = measured(1.0), replace(measured(2.0), fingerprint="g")
    seen = [(measured(3.0), False), (control, True), (other, True)]
    found = fidelity.baselines_after({}, seen)
    assert found == {"f": Baseline().after(control), "g": Baseline().after(other)}
    again = fidelity.baselines_after(found, [(other, True)])
    assert again["f"] == found["f"]
    assert len(again["g"].controls["nb201/a", "k"]) == 2
