"""How slow a device is just now, by networks that are timed among the others."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from farm.core.values import DeviceFacts, Network
from farm.measurement import drift_correction
from farm.measurement.drift_correction import BASELINE_ROUNDS, Baseline
from farm.measurement.record import Block, Job, Measurement
from farm.measurement.sessions import measure
from farm.measurement.spec import MeasureSpec
from farm.measurement.verdict import Rejection
from tests.measurement.test_sessions import Scripted, block

FACTS = DeviceFacts("d", "host", (), None, {"governor": "performance"})
SPEC = MeasureSpec(rounds=4, min_sessions=3, max_sessions=6)
NETWORK, OTHER = Network("nb201", "n"), Network("fbnet", "o")
CONTROL, LARGE = Network("nb201", "r"), Network("fbnet", "s")
TAKES_S = {"n": 1e-3, "c": 1e-3, "o": 5e-3, "r": 2e-3, "s": 8e-3}


LEVELS_S = {(CONTROL.id, None): 2e-3, (LARGE.id, None): 8e-3}
BASELINE = Baseline({series: (level_s,) for series, level_s in LEVELS_S.items()})


COARSE = replace(SPEC, half_width=0.04, max_sessions=12)


def scattered(code: str, session: int) -> float:
    """One network differs by a few per cent from session to session: more of them tell more."""
    return (1.0, 1.04, 1.02)[session % 3] if code == "n" else 1.0


def jobs(*networks: Network) -> list[Job]:
    return [Job(network, None, network in (CONTROL, LARGE)) for network in networks]


def taken(
    timed: Sequence[Job],
    slowness: Callable[[str, int], float],
    baseline: Baseline | None = None,
    spec: MeasureSpec = SPEC,
) -> tuple[list[Measurement], Scripted]:
    """What comes of jobs on a device that `slowness(code, session)` says how slow it is."""

    def script(code, session, _round):
        return block(TAKES_S[code] * slowness(code, session))

    agent = Scripted(script)
    _, outcomes = measure(
        agent, timed, spec, {} if baseline is None else {FACTS.fingerprint: baseline}
    )
    good = [outcome for outcome in outcomes if isinstance(outcome, Measurement)]
    assert len(good) == len(outcomes)
    return good, agent


def control_of(latency_s: float, probe_s: float | None = 4e-5) -> Measurement:
    """A round of a control network: four blocks that all say the same."""
    (found,), _ = taken(jobs(CONTROL), lambda *_: latency_s / TAKES_S["r"])
    telemetry = {} if probe_s is None else {"clock_probe_s": probe_s}
    return replace(found, blocks=tuple(replace(b, telemetry=telemetry) for b in found.blocks))


class TestDividedOut:
    def test_is_what_moves_all_networks_alike(self):
        (found, control), agent = taken(
            jobs(NETWORK, CONTROL), lambda _, session: 1 + 0.02 * (session % 2)
        )
        assert found.verdict == "ok"
        assert found.half_width == pytest.approx(1.96 * 0.003)  # what no session shows
        assert found.latency_s == pytest.approx(1e-3)
        assert len(agent.sessions) == SPEC.min_sessions
        assert control.controls == ()
        assert {min(b.samples_s) for b in found.blocks} == {1e-3, 1.02e-3}

    def test_is_kept_as_raw_blocks_with_the_baseline_of_the_time(self):
        (found, _), _ = taken(jobs(NETWORK, CONTROL), lambda _, s: 1 + 0.1 * s, BASELINE)
        (kept,) = found.controls
        assert (kept.series, kept.level_s) == ((CONTROL.id, None), 2e-3)
        rows = [[2e-3 * times] * SPEC.rounds for times in (1.0, 1.1, 1.2)]
        np.testing.assert_allclose(kept.blocks_s, rows)

    def test_is_nothing_without_controls(self):
        (found,), _ = taken(jobs(NETWORK), lambda _, session: 1 + 0.04 * (session % 2))
        assert (found.verdict, found.slowdown, found.controls) == ("noisy", 1.0, ())

    @pytest.mark.parametrize("times", [0.8, 1.05, 1.3, 1.45])
    def test_is_how_far_the_baseline_is_however_far(self, times):
        """No block is rejected for it; what it costs is width."""
        (found, control), _ = taken(jobs(NETWORK, CONTROL), lambda *_: times, BASELINE)
        assert found.latency_s == pytest.approx(1e-3)
        assert found.slowdown == pytest.approx(times)
        assert control.latency_s == pytest.approx(2e-3 * times)
        assert {b.rejected for b in found.blocks} == {None}
        expected = 1.96 * math.hypot(0.003, 0.1 * math.log(times))
        assert found.half_width == pytest.approx(expected)

    def test_is_compared_with_itself_where_there_is_no_baseline(self):
        (found, _), _ = taken(jobs(NETWORK, CONTROL), lambda *_: 1.3)
        assert (found.slowdown, found.latency_s) == pytest.approx((1.0, 1.3e-3))

    def test_is_what_controls_of_the_networks_space_show(self):
        def memory_is_slow(code: str, _session: int) -> float:
            return 1.08 if code in "os" else 1.0

        all_jobs = jobs(NETWORK, OTHER, CONTROL, LARGE)
        (small, large, *_), _ = taken(all_jobs, memory_is_slow, BASELINE)
        assert (small.slowdown, large.slowdown) == pytest.approx((1.0, 1.08))
        onnx_jobs = [Job(Network("onnx", "n"), None), *jobs(CONTROL, LARGE)]
        (onnx, *_), _ = taken(onnx_jobs, memory_is_slow, BASELINE)
        assert onnx.slowdown == pytest.approx(math.sqrt(1.08))

    def test_is_only_of_the_sessions_that_the_network_took_part_in(self):
        """The device gets faster once the calm network is done."""

        def slowness(code: str, session: int) -> float:
            return (1.05 if session < SPEC.min_sessions else 0.9) * scattered(code, session)

        calm = Network("nb201", "c")
        timed = [*jobs(NETWORK), Job(calm, None), *jobs(CONTROL)]
        (_, found, control), agent = taken(
            timed, slowness, BASELINE, replace(COARSE, half_width=0.027)
        )
        assert agent.sessions[:4] == ["ncr", "ncr", "ncr", "nr"]
        assert len(found.controls[0].blocks_s) == COARSE.min_sessions
        assert len(control.warmup_s) == len(agent.sessions)
        assert (found.slowdown, found.latency_s) == pytest.approx((1.05, TAKES_S["c"]))

    def test_is_not_what_a_wrong_clock_said(self):
        """A session of the network that does not count takes the controls' of it along."""

        def script(code: str, session: int, _round: int) -> Block:
            jump = {"utc_elapsed_s": 60.0} if (code, session) == ("n", 0) else {}
            return block(TAKES_S[code] * (0.5 if session == 0 else 1.0), **jump)

        _, (found, _) = measure(Scripted(script), jobs(NETWORK, CONTROL), SPEC)
        assert isinstance(found, Measurement)
        told = found.at(LEVELS_S)
        assert (told.slowdown, told.latency_s) == pytest.approx((1.0, 1e-3))


def test_controls_go_on_while_others_do_and_end_early_alone():
    (found, control), agent = taken(jobs(NETWORK, CONTROL), scattered, spec=COARSE)
    assert set(agent.sessions) == {"nr"}
    assert len(agent.sessions) > COARSE.min_sessions
    assert len(control.warmup_s) == len(found.controls[0].blocks_s) == len(agent.sessions)
    noise = taken(jobs(CONTROL), lambda _, session: 1 + 0.04 * (session % 2))
    assert noise[1].sessions == ["r"] * SPEC.min_sessions


class TestBaseline:
    SERIES = (CONTROL.id, None)

    def after(self, *rounds_s: float) -> Baseline:
        baseline = Baseline()
        for latency_s in rounds_s:
            baseline = baseline.after(control_of(latency_s))
        return baseline

    def test_is_refined_by_five_rounds_and_never_moved_by_a_sixth(self):
        """By the fastest quarter of them: one and a quarter."""
        known = [self.after(*([1.0, 1.1, 1.2, 0.9, 0.8] * 2)[:n]) for n in range(1, 8)]
        levels_s = [baseline.levels_s[self.SERIES] for baseline in known]
        expected = [1.0, 1.0, 1.0, 0.9, (0.8 + 0.25 * 0.9) / 1.25]
        assert levels_s[:5] == pytest.approx(expected)
        assert known[4] == known[5] == known[6]
        assert self.after(1.0, 1.1, 1.2, 0.9, 0.8, 0.1) == known[4]
        assert BASELINE_ROUNDS == 5

    @pytest.mark.parametrize("place", range(BASELINE_ROUNDS))
    def test_bears_a_slow_round_wherever_it_comes(self, place):
        rounds_s = [1.0, 1.001, 1.002, 1.003, 1.004]
        slow = [*rounds_s[:place], 1.5, *rounds_s[place + 1 :]]
        assert self.after(*slow).levels_s[self.SERIES] == pytest.approx(1.0, rel=0.002)

    def test_has_the_clock_of_its_rounds(self):
        probes = (5e-5, 4e-5, 4e-5, 4.1e-5, 4e-5, 1e-5)
        baseline = Baseline()
        for probe_s in probes:
            baseline = baseline.after(control_of(1.0, probe_s))
        assert baseline.probes == {"clock_probe_s": pytest.approx(probes[:5])}
        assert baseline.probe_levels == {"clock_probe_s": pytest.approx(4e-5)}

    def test_has_no_clock_where_the_device_shows_none(self):
        baseline = Baseline().after(control_of(1.0, None))
        assert (baseline.probes, baseline.probe_levels) == ({}, {})
        assert baseline.levels_s[self.SERIES] == pytest.approx(1.0)

    def test_begins_on_a_contended_device_too(self):
        """A slow round does no harm, and no round at all does."""
        found = control_of(1.0)
        contended = Rejection("contended", "so")
        blocks = tuple(replace(b, rejected=contended) for b in found.blocks)
        assert Baseline().after(replace(found, blocks=blocks)) == Baseline().after(found)

    def test_of_another_build_is_another_one(self):
        rebuilt = replace(control_of(2.0), build_key="rebuilt")
        known = self.after(1.0).after(rebuilt)
        assert known.levels_s == pytest.approx({self.SERIES: 1.0, (CONTROL.id, "rebuilt"): 2.0})

    def test_changes_by_the_controls_that_both_know(self):
        before = Baseline({("r", "k"): (1.0,), ("s", "k"): (2.0,), ("t", "k"): (9.0,)})
        after = Baseline({("r", "rebuilt"): (1.1,), ("s", "k"): (2.4, 9.0)})
        assert drift_correction.change(before, after) == pytest.approx(math.sqrt(1.1 * 1.2))
        assert drift_correction.change(before, Baseline()) is None


class TestToldAtAnotherBaseline:
    def test_is_as_if_it_had_been_known(self):
        (early, _), _ = taken(jobs(NETWORK, CONTROL), lambda *_: 1.3)
        (known, _), _ = taken(jobs(NETWORK, CONTROL), lambda *_: 1.3, BASELINE)
        told = early.at(LEVELS_S)
        assert (told.latency_s, told.half_width) == (known.latency_s, known.half_width)
        assert early.latency_s == pytest.approx(1.3 * told.latency_s)

    def test_agrees_with_what_was_measured_later(self):
        """Once when the first round, a slow one, was all the baseline, then at the fixed one."""
        slow, fixed = (
            Baseline({(CONTROL.id, None): rounds_s})
            for rounds_s in ((2.6e-3,), (2.6e-3, 2e-3, 2e-3, 2.1e-3, 2e-3))
        )
        (first, _), _ = taken(jobs(NETWORK, CONTROL), lambda *_: 1.3, slow)
        (second, _), _ = taken(jobs(NETWORK, CONTROL), lambda *_: 1.0, fixed)
        assert first.latency_s == pytest.approx(1.3 * second.latency_s)
        told = [m.at(fixed.levels_s).latency_s for m in (first, second)]
        assert told == pytest.approx([1e-3, 1e-3])

    def test_has_a_verdict_of_its_own(self):
        """It seemed to be a third slower than at its baseline, until that was known better."""
        fast = Baseline({series: (level_s / 1.3,) for series, level_s in LEVELS_S.items()})
        (found, _), _ = taken(jobs(NETWORK, CONTROL), lambda *_: 1.0, fast)
        stored = replace(found, given_verdict=found.verdict)
        assert stored.verdict != "ok"
        assert stored.at(LEVELS_S).verdict == "ok"

    def test_leaves_controls_alone_that_are_not_known(self):
        (found, _), _ = taken(jobs(NETWORK, CONTROL), lambda *_: 1.3, BASELINE)
        assert found.at({("else", None): 1.0}) is found
