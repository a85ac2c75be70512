"""How slow a device is just now, by networks that are timed among the others."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from farm.core.values import DeviceFacts, Network
from farm.measurement import drift_correction
from farm.measurement.drift_correction import Baseline
from farm.measurement.record import Job, Measurement, MeasureSpec
from farm.measurement.sessions import measure
from farm.measurement.verdict import Rejection
from tests.measurement.test_sessions import Scripted, block

FACTS = DeviceFacts("d", "host", (), None, {"governor": "performance"})
SPEC = MeasureSpec(rounds=4, min_sessions=3, max_sessions=6)
NETWORK, OTHER = Network("nb201", "n"), Network("fbnet", "o")
CONTROL, LARGE = Network("nb201", "r"), Network("fbnet", "s")
TAKES_S = {"n": 1e-3, "o": 5e-3, "r": 2e-3, "s": 8e-3}


def jobs(*networks: Network) -> list[Job]:
    return [Job(network, None, network in (CONTROL, LARGE)) for network in networks]


def taken(timed, slowness, baseline=None, spec: MeasureSpec = SPEC):
    """What comes of jobs on a device that `slowness(code, session)` says how slow it is."""

    def script(code, session, _round):
        return block(TAKES_S[code] * slowness(code, session))

    agent = Scripted(script)
    _, outcomes = measure(
        agent, timed, spec, {} if baseline is None else {FACTS.fingerprint: baseline}
    )
    assert all(isinstance(outcome, Measurement) for outcome in outcomes)
    return outcomes, agent


def test_what_moves_all_networks_alike_is_divided_out():
    (found, control), agent = taken(
        jobs(NETWORK, CONTROL), lambda _, session: 1 + 0.02 * (session % 2)
    )
    assert found.verdict == "ok"
    assert found.half_width == pytest.approx(1.96 * 0.003)  # what no session shows
    assert found.latency_s == pytest.approx(1e-3 * 2e-3 / 2e-3)
    assert found.slowdown == pytest.approx((1.0, 1.02, 1.0))
    assert len(agent.sessions) == SPEC.min_sessions
    assert control.slowdown == ()
    assert {min(b.samples_s) for b in found.blocks} == {1e-3, 1.02e-3}


def test_without_references_it_is_noise():
    (found,), agent = taken(jobs(NETWORK), lambda _, session: 1 + 0.04 * (session % 2))
    assert (found.verdict, found.slowdown) == ("noisy", ())
    assert len(agent.sessions) == SPEC.max_sessions


def test_the_baseline_of_before_is_what_counts():
    baseline = Baseline(4e-5, {(CONTROL.id, None): 2e-3})
    (found, control), _ = taken(jobs(NETWORK, CONTROL), lambda *_: 1.05, baseline)
    assert found.latency_s == pytest.approx(1e-3)
    assert found.slowdown == pytest.approx((1.05,) * 3)
    assert control.latency_s == pytest.approx(2.1e-3)


def test_networks_are_compared_with_controls_of_their_space():
    def memory_is_slow(code, _session):
        return 1.08 if code in "os" else 1.0

    baseline = Baseline(4e-5, {(CONTROL.id, None): 2e-3, (LARGE.id, None): 8e-3})
    all_jobs = jobs(NETWORK, OTHER, CONTROL, LARGE)
    (small, large, *_), _ = taken(all_jobs, memory_is_slow, baseline)
    assert (small.slowdown[0], large.slowdown[0]) == pytest.approx((1.0, 1.08))
    (onnx, *_), _ = taken(
        [Job(Network("onnx", "n"), None), *jobs(CONTROL, LARGE)], memory_is_slow, baseline
    )
    assert onnx.slowdown[0] == pytest.approx(math.sqrt(1.08))


@pytest.mark.parametrize(
    ("times", "verdict", "reason"),
    [
        (
            1.2,
            "contended",
            Rejection("contended", "control networks took 20.0% longer than their baseline"),
        ),
        (
            0.8,
            "unresolved",
            Rejection("clock", "control networks took 20.0% less time than their baseline"),
        ),
        (1.09, "ok", None),
    ],
)
def test_what_is_far_from_the_baseline_is_not_divided_out_but_rejected(times, verdict, reason):
    baseline = Baseline(4e-5, {(CONTROL.id, None): 2e-3})
    (found, _), _ = taken(jobs(NETWORK, CONTROL), lambda *_: times, baseline)
    assert found.verdict == verdict
    assert {b.rejected for b in found.blocks} == {reason}


def test_controls_go_on_while_others_do_and_end_early_alone():
    def noisy(code, session):
        return 1 + 0.04 * (session % 2) if code == "n" else 1.0

    (found, control), agent = taken(jobs(NETWORK, CONTROL), noisy)
    assert agent.sessions == ["nr"] * SPEC.max_sessions
    assert len(control.warmup_s) == len(found.slowdown) == SPEC.max_sessions
    noise = taken(jobs(CONTROL), lambda _, session: 1 + 0.04 * (session % 2))
    assert noise[1].sessions == ["r"] * SPEC.min_sessions


def test_no_baseline_is_begun_on_a_contended_device():
    (found, control), _ = taken(jobs(NETWORK, CONTROL), lambda *_: 1.0)
    contended = replace(
        control,
        blocks=tuple(replace(b, rejected=Rejection("contended", "so")) for b in control.blocks),
    )
    first = drift_correction.baselines_after({}, [(contended, True)])
    assert first == {FACTS.fingerprint: Baseline()}
    then = drift_correction.baselines_after(first, [(found, False), (control, True)])
    assert then == {FACTS.fingerprint: Baseline(4e-5, {(CONTROL.id, None): control.latency_s})}
    slower = replace(control, blocks=tuple(replace(b, samples_s=(1.0,)) for b in control.blocks))
    assert drift_correction.baselines_after(then, [(slower, True)]) == then


def test_a_baseline_changes_by_the_controls_that_both_know():
    before = Baseline(None, {("r", "k"): 1.0, ("s", "k"): 2.0, ("t", "k"): 9.0})
    after = Baseline(None, {("r", "rebuilt"): 1.1, ("s", "k"): 2.2})
    assert drift_correction.change(before, after) == pytest.approx(1.1)
    assert drift_correction.change(before, Baseline()) is None
