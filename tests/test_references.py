"""How slow a device is just now, by networks that are timed among the others."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from farm.core.values import DeviceFacts, Network
from farm.measurement import drift
from farm.measurement.drift import Usual
from farm.measurement.record import Job, Measurement, MeasureSpec
from farm.measurement.sessions import measure
from tests.test_measuring import Scripted, block

FACTS = DeviceFacts("d", "host", (), None, {"governor": "performance"})
SPEC = MeasureSpec(rounds=4, min_sessions=3, max_sessions=6)
NETWORK, OTHER = Network("nb201", "n"), Network("fbnet", "o")
REFERENCE, LARGE = Network("nb201", "r"), Network("fbnet", "s")
TAKES_S = {"n": 1e-3, "o": 5e-3, "r": 2e-3, "s": 8e-3}


def jobs(*networks: Network) -> list[Job]:
    return [Job(network, None, network in (REFERENCE, LARGE)) for network in networks]


def taken(timed, slowness, usual=None, spec: MeasureSpec = SPEC):
    """What comes of jobs on a device that `slowness(code, session)` says how slow it is."""

    def script(code, session, _round):
        return block(TAKES_S[code] * slowness(code, session))

    agent = Scripted(script)
    _, outcomes = measure(agent, timed, spec, {} if usual is None else {FACTS.fingerprint: usual})
    assert all(isinstance(outcome, Measurement) for outcome in outcomes)
    return outcomes, agent


def test_what_moves_all_networks_alike_is_divided_out():
    (found, reference), agent = taken(
        jobs(NETWORK, REFERENCE), lambda _, session: 1 + 0.02 * (session % 2)
    )
    assert found.verdict == "ok"
    assert found.half_width == pytest.approx(1.96 * 0.003)  # what no session shows
    assert found.latency_s == pytest.approx(1e-3 * 2e-3 / 2e-3)
    assert found.slowdown == pytest.approx((1.0, 1.02, 1.0))
    assert len(agent.sessions) == SPEC.min_sessions
    assert reference.slowdown == ()
    assert {min(b.samples_s) for b in found.blocks} == {1e-3, 1.02e-3}


def test_without_references_it_is_noise():
    (found,), agent = taken(jobs(NETWORK), lambda _, session: 1 + 0.04 * (session % 2))
    assert (found.verdict, found.slowdown) == ("noisy", ())
    assert len(agent.sessions) == SPEC.max_sessions


def test_the_usual_speed_of_before_is_what_counts():
    usual = Usual(4e-5, {(REFERENCE.id, None): 2e-3})
    (found, reference), _ = taken(jobs(NETWORK, REFERENCE), lambda *_: 1.05, usual)
    assert found.latency_s == pytest.approx(1e-3)
    assert found.slowdown == pytest.approx((1.05,) * 3)
    assert reference.latency_s == pytest.approx(2.1e-3)


def test_networks_are_compared_with_references_of_their_space():
    def memory_is_slow(code, _session):
        return 1.08 if code in "os" else 1.0

    usual = Usual(4e-5, {(REFERENCE.id, None): 2e-3, (LARGE.id, None): 8e-3})
    all_jobs = jobs(NETWORK, OTHER, REFERENCE, LARGE)
    (small, large, *_), _ = taken(all_jobs, memory_is_slow, usual)
    assert (small.slowdown[0], large.slowdown[0]) == pytest.approx((1.0, 1.08))
    (onnx, *_), _ = taken(
        [Job(Network("onnx", "n"), None), *jobs(REFERENCE, LARGE)], memory_is_slow, usual
    )
    assert onnx.slowdown[0] == pytest.approx(math.sqrt(1.08))


@pytest.mark.parametrize(
    ("times", "verdict", "reason"),
    [
        (1.2, "contended", "contended: reference networks took 20.0% longer than usual"),
        (0.8, "unresolved", "clock: reference networks took 20.0% less time than usual"),
        (1.09, "ok", None),
    ],
)
def test_what_is_far_from_usual_is_not_divided_out_but_rejected(times, verdict, reason):
    usual = Usual(4e-5, {(REFERENCE.id, None): 2e-3})
    (found, _), _ = taken(jobs(NETWORK, REFERENCE), lambda *_: times, usual)
    assert found.verdict == verdict
    assert {b.rejected for b in found.blocks} == {reason}


def test_references_go_on_while_others_do_and_end_early_alone():
    def noisy(code, session):
        return 1 + 0.04 * (session % 2) if code == "n" else 1.0

    (found, reference), agent = taken(jobs(NETWORK, REFERENCE), noisy)
    assert agent.sessions == ["nr"] * SPEC.max_sessions
    assert len(reference.warmup_s) == len(found.slowdown) == SPEC.max_sessions
    noise = taken(jobs(REFERENCE), lambda _, session: 1 + 0.04 * (session % 2))
    assert noise[1].sessions == ["r"] * SPEC.min_sessions


def test_nothing_usual_is_learnt_from_a_disturbed_device():
    (found, reference), _ = taken(jobs(NETWORK, REFERENCE), lambda *_: 1.0)
    disturbed = replace(
        reference, blocks=tuple(replace(b, rejected="contended: so") for b in reference.blocks)
    )
    first = drift.usual_after({}, [(disturbed, True)])
    assert first == {FACTS.fingerprint: Usual()}
    then = drift.usual_after(first, [(found, False), (reference, True)])
    assert then == {FACTS.fingerprint: Usual(4e-5, {(REFERENCE.id, None): reference.latency_s})}
    slower = replace(
        reference, blocks=tuple(replace(b, samples_s=(1.0,)) for b in reference.blocks)
    )
    assert drift.usual_after(then, [(slower, True)]) == then


def test_what_is_usual_changes_by_the_references_that_both_know():
    before = Usual(None, {("r", "k"): 1.0, ("s", "k"): 2.0, ("t", "k"): 9.0})
    after = Usual(None, {("r", "rebuilt"): 1.1, ("s", "k"): 2.2})
    assert drift.change(before, after) == pytest.approx(1.1)
    assert drift.change(before, Usual()) is None
