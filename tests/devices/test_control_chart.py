"""What is decided from controls: drift, and whether older results still hold."""

from __future__ import annotations

import math

import numpy as np
import pytest

from farm.devices import controls, equivalence
from farm.devices.control_chart import control_chart
from farm.spaces import space
from farm.spaces.counts import count

SERIES = [(network.id, "built") for network in controls.NETWORKS]


def rounds(*shifts: float, noise: float = 0.0, seed: int = 0, build: str = "built") -> list:
    """Rounds of all control networks, each shifted, and off by so much noise of its own."""
    rng = np.random.default_rng(seed)
    return [
        {
            (network.id, build): (i + 1) * 1e-3 * math.exp(shift + noise * rng.standard_normal())
            for i, network in enumerate(controls.NETWORKS)
        }
        for shift in shifts
    ]


def test_controls_are_networks_of_growing_work():
    for name in ("nb201", "fbnet"):
        light, heavy = controls.controls_of({name})
        assert [space(name).parse(n.code) for n in (light, heavy)] == [light, heavy]
        light_macs, heavy_macs = (count(space(name).graph(n)).macs for n in (light, heavy))
        assert 2 * light_macs < heavy_macs


def test_controls_are_of_the_spaces_that_are_measured():
    assert {network.space for network in controls.controls_of({"fbnet"})} == {"fbnet"}
    assert controls.controls_of({"nb201", "fbnet"}) == controls.NETWORKS
    assert controls.controls_of({"onnx"}) == controls.controls_of(set()) == controls.NETWORKS
    assert controls.controls_of({"onnx", "nb201"}) == controls.NETWORKS


class TestChart:
    def test_has_nothing_to_say_of_nothing(self):
        assert not control_chart([]).out
        assert not control_chart(rounds(0.0)).out

    def test_stays_calm_over_a_thousand_calm_devices(self):
        """Limits of three sigma that also tolerate a percent: 40 rounds, 0.5 % each."""
        alarms = sum(
            any(
                point.out
                for point in control_chart(rounds(*[0.0] * 40, noise=0.005, seed=s)).points
            )
            for s in range(300)
        )
        assert alarms <= 6

    @pytest.mark.parametrize(("shift", "within"), [(0.1, 1), (0.03, 3), (0.02, 6), (-0.03, 3)])
    def test_tells_a_lasting_shift_soon(self, shift, within):
        chart = control_chart(rounds(*[0.0] * 10, *[shift] * within, noise=0.001))
        assert chart.out
        assert chart.last_good == 9
        assert chart.shift == pytest.approx(shift, abs=0.005)

    def test_tells_a_jump_in_the_second_round(self):
        assert control_chart(rounds(0.0, 0.1)).out

    def test_tells_a_creeping_drift_before_it_is_two_percent(self):
        creeping = rounds(*[0.0] * 10, *[0.001 * i for i in range(1, 40)], noise=0.001)
        points = control_chart(creeping).points
        told = next(i for i, point in enumerate(points) if point.out) - 9
        assert 10 <= told <= 20

    def test_tolerates_a_lasting_shift_below_a_percent(self):
        points = control_chart(rounds(*[0.0] * 10, *[0.0095] * 200)).points
        assert not any(point.out for point in points)

    def test_learns_how_much_a_device_scatters(self):
        calm, wild = (control_chart(rounds(*[0.0] * 30, noise=noise)) for noise in (0.001, 0.05))
        assert calm.sigma < 0.005 < 0.02 < wild.sigma
        assert calm.points[-1].limit < wild.points[-1].limit

    def test_of_another_build_is_another_level(self):
        rebuilt = rounds(0.0, 0.0) + rounds(0.5, 0.5, build="rebuilt")
        assert not control_chart(rebuilt).out
        assert control_chart(rebuilt).points[2].shift is None

    def test_takes_a_round_with_what_it_has(self):
        full, partial = rounds(0.0, 0.0)
        del partial[SERIES[0]]
        assert control_chart([full, partial]).points[1].shift == pytest.approx(0)

    def test_says_since_when_a_device_creeps(self):
        """What was measured after the last round in the inner half of its limits may be off."""
        chart = control_chart(rounds(*[0.0] * 10, *[0.002 * i for i in range(1, 12)]))
        first = next(i for i, point in enumerate(chart.points) if point.out)
        until = control_chart(rounds(*[0.0] * 10, *[0.002 * i for i in range(1, 12)][: first - 9]))
        assert until.out
        assert 10 <= until.last_good < first
        assert until.points[until.last_good].ewma <= until.points[until.last_good].limit / 2

    def test_of_what_begins_a_stretch_is_calm_at_its_own_level(self):
        """The rounds after the last good one, as a chart of their own."""
        found = rounds(*[0.0] * 10, *[0.3] * 20, noise=0.002)
        chart = control_chart(found[:11])
        assert chart.out
        own = control_chart(found[chart.last_good + 1 :])
        assert not any(point.out for point in own.points)
        assert own.points[0].shift is None


class TestDecision:
    @pytest.mark.parametrize("seed", range(5))
    def test_same_where_nothing_changed(self, seed):
        old, new = rounds(*[0.0] * 8, noise=0.003, seed=seed), rounds(0, 0, 0, noise=0.003, seed=9)
        found = equivalence.decide(old, new)
        assert (found.decision, found.factor) == ("same", 1.0)
        assert "within 2%" in found.reason

    def test_rebased_by_one_factor(self):
        old, new = rounds(*[0.0] * 8, noise=0.001), rounds(*[0.3] * 3, noise=0.001, seed=1)
        found = equivalence.decide(old, new)
        assert found.decision == "rebased"
        assert found.factor == pytest.approx(math.exp(0.3), rel=0.01)

    def test_invalidated_where_the_controls_changed_differently(self):
        old, new = rounds(*[0.0] * 8), rounds(*[0.3] * 3)
        for latencies in new:
            latencies[SERIES[0]] *= 1.05
        found = equivalence.decide(old, new)
        assert (found.decision, found.factor) == ("invalidated", 1.0)
        assert "not shown to be one factor" in found.reason

    def test_invalidated_where_noise_leaves_it_open(self):
        old, new = rounds(*[0.0] * 3, noise=0.05), rounds(*[0.0] * 3, noise=0.05, seed=1)
        assert equivalence.decide(old, new).decision == "invalidated"

    def test_invalidated_where_there_is_nothing_to_compare(self):
        assert equivalence.decide([], rounds(0.0)).decision == "invalidated"

    def test_errs_to_the_safe_side(self):
        """Control networks that changed by just the margin are taken for the same in at most one of
        20."""
        taken = sum(
            equivalence.decide(
                rounds(*[0.0] * 8, noise=0.004, seed=seed),
                rounds(*[math.log1p(equivalence.SAME)] * 3, noise=0.004, seed=1000 + seed),
            ).decision
            == "same"
            for seed in range(200)
        )
        assert taken <= 10

    def test_knows_a_network_that_is_built_otherwise(self):
        old, new = rounds(*[0.0] * 5), rounds(*[0.0] * 3, build="rebuilt")
        assert equivalence.decide(old, new).decision == "same"
