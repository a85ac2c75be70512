"""Sessions until a latency is known: who takes part, what counts, and what it is worth."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from farm.core.errors import DeviceLost, NetworkCrashed, WrongOutput, blaming
from farm.core.values import Artifact, DeviceFacts, Network, Program, TensorSpec, share
from farm.measurement import verdict
from farm.measurement.drift_correction import Baseline
from farm.measurement.record import Block, Job, Measurement, Session
from farm.measurement.sessions import difference, groups, measure
from farm.measurement.spec import MeasureSpec
from farm.measurement.verdict import RULES, Rejection

NETWORKS = [Network("test", code) for code in "abcd"]
JOBS = [Job(network, None) for network in NETWORKS]
FACTS = DeviceFacts("d", "host", (), None, {"governor": "performance"})
SPEC = MeasureSpec(rounds=4, min_sessions=3, max_sessions=6)

QUIET = {
    "elapsed_s": 0.03,
    "utc_elapsed_s": 0.03,
    "waited_s": 0.0,
    "steal_s": 0.0,
    "involuntary_switches": 0,
    "clock_probe_s": 4e-5,
}

Script = Callable[[str, int, int], Block]
"""The block of a network's code, in a session and a round."""


def scattered(code: str, session: int) -> float:
    """One network differs by a few per cent from session to session: more of them tell more."""
    return (1.0, 1.04, 1.02)[session % 3] if code == "b" else 1.0


def block(latency_s: float = 1e-3, samples: int = 20, **seen: float) -> Block:
    return Block((latency_s,) * samples, 1, {**QUIET, **seen})


class Scripted:
    """An agent that answers by a script, and remembers who took part in which session."""

    def __init__(self, script: Script, facts: Sequence[DeviceFacts] = (FACTS,)) -> None:
        self._script = script
        self._facts = list(facts)
        self.sessions: list[str] = []

    def facts(self) -> DeviceFacts:
        return self._facts.pop(0) if len(self._facts) > 1 else self._facts[0]

    def session(self, jobs: Sequence[Job], spec: MeasureSpec, number: int) -> list[Session]:
        self.sessions.append("".join(job.network.code for job in jobs))
        found = []
        for index, job in enumerate(jobs):
            with blaming(index):
                code = job.network.code
                blocks = tuple(self._script(code, number, r) for r in range(spec.rounds))
            found.append(Session((1e-3,), blocks, device_s=1.0))
        return found


def measured(script: Script, spec: MeasureSpec = SPEC) -> tuple[Measurement, Scripted]:
    """The first network alone."""
    agent = Scripted(script)
    _, (outcome,) = measure(agent, JOBS[:1], spec)
    assert isinstance(outcome, Measurement)
    return outcome, agent


class TestEdge:
    """What an agent says is no measurement, where it cannot be one."""

    @pytest.mark.parametrize("wrong", [0.0, -1e-3, math.nan, math.inf])
    def test_a_latency_is_finite_and_positive(self, wrong):
        agent = Scripted(lambda code, *_: block(wrong if code == "b" else 1e-3))
        _, outcomes = measure(agent, JOBS[:2], SPEC)
        for outcome in outcomes:  # the agent does not say which network it was
            assert str(outcome).startswith("d says what cannot be: `samples_s` must be finite and ")

    def test_there_are_no_more_samples_than_were_asked_for(self):
        most = SPEC.most_samples
        agent = Scripted(lambda code, *_: block(samples=most + (code == "b")))
        _, (a, b) = measure(agent, JOBS[:2], SPEC)
        assert isinstance(a, Measurement)
        assert str(b) == (f"d was asked for at most {most} samples in a block, got {most + 1}")

    def test_there_are_as_many_blocks_and_networks_as_were_asked_for(self):
        class Short(Scripted):
            def session(self, jobs, spec, number):
                return super().session(jobs, replace(spec, rounds=3), number)[:2]

        _, outcomes = measure(Short(lambda *_: block()), JOBS[:1], SPEC)
        assert str(outcomes[0]) == "d was asked for 4 blocks, got 3"
        _, outcomes = measure(Short(lambda *_: block()), JOBS[:3], SPEC)
        assert {str(outcome) for outcome in outcomes} == {"d was asked for 3 networks, got 2"}

    @pytest.mark.parametrize("number", [7, -1])
    def test_a_network_that_was_not_asked_for_is_nobody(self, number):
        class Wrong(Scripted):
            def session(self, *_):
                error = NetworkCrashed("died")
                error.network = number
                raise error

        _, outcomes = measure(Wrong(lambda *_: block()), JOBS[:2], SPEC)
        assert [str(outcome) for outcome in outcomes] == ["died"] * 2


class TestSessions:
    def test_end_with_the_fewest_where_all_agree(self):
        found, agent = measured(lambda *_: block())
        assert agent.sessions == ["a"] * 3
        assert (found.verdict, found.latency_s) == ("ok", 1e-3)
        assert found.half_width == pytest.approx(1.96 * 0.003)  # what no session shows
        assert [b.session for b in found.blocks] == [0] * 4 + [1] * 4 + [2] * 4

    def test_go_on_for_those_that_are_not_known_yet(self):
        agent = Scripted(lambda code, session, _: block(1e-3 * scattered(code, session)))
        _, outcomes = measure(agent, JOBS[:3], replace(SPEC, half_width=0.02, max_sessions=20))
        assert agent.sessions[:4] == ["abc", "abc", "abc", "b"]
        assert 4 <= len(agent.sessions) < 20
        assert [o.verdict for o in outcomes] == ["ok"] * 3

    def test_go_on_only_as_long_as_they_can_help(self):
        """By what three sessions show, one less than enough would not do."""
        spec = replace(SPEC, half_width=0.02)
        found, _ = measured(
            lambda _c, s, _r: block(1e-3 * scattered("b", s)), replace(spec, max_sessions=3)
        )
        enough = next(n for n in range(3, 99) if found.half_width_after(n) <= spec.half_width)
        assert enough > 4
        for most, goes_on in ((enough, True), (enough - 1, False)):
            again, agent = measured(
                lambda _c, s, _r: block(1e-3 * scattered("b", s)), replace(spec, max_sessions=most)
            )
            assert (len(agent.sessions) > 3) == goes_on
            assert again.half_width <= found.half_width

    def test_go_on_where_one_block_says_nothing(self):
        found, agent = measured(lambda *_: block(), replace(SPEC, min_sessions=1, rounds=1))
        assert (len(agent.sessions), found.verdict) == (2, "ok")

    def test_end_early_where_what_no_session_shows_is_too_wide(self):
        """Control networks contradict each other: more sessions cannot mend that."""
        known = Baseline({(n.id, None): (1e-3,) for n in NETWORKS[2:]})
        jobs = [JOBS[0], *(replace(job, control=True) for job in JOBS[2:])]

        def script(code: str, _session: int, _round: int) -> Block:
            return block(1.2e-3 if code == "d" else 1e-3)

        agent = Scripted(script)
        _, (found, *_) = measure(agent, jobs, SPEC, {FACTS.fingerprint: known})
        assert agent.sessions == ["acd"] * SPEC.min_sessions
        assert found.verdict == "unresolved"
        assert found.half_width_after(10_000) > SPEC.half_width

    def test_end_early_where_the_budget_leaves_too_few(self):
        """A session is a second: after three, two more would be paid for and would not do."""
        spec = replace(SPEC, half_width=0.02, max_sessions=20)
        for budget_s, goes_on in ((5.0, False), (20.0, True)):
            _, agent = measured(
                lambda _c, s, _r: block(1e-3 * scattered("b", s)), replace(spec, budget_s=budget_s)
            )
            assert (len(agent.sessions) > 3) == goes_on

    def test_end_with_the_budget(self):
        spec = replace(SPEC, half_width=0.02, min_sessions=1, budget_s=1.0)
        found, agent = measured(lambda _c, s, r: block(1e-4 * (1 + s + 0.1 * r)), spec)
        assert len(agent.sessions) == 1
        assert found.verdict == "unresolved"

    def test_of_a_group_are_judged_by_the_spread_of_all(self):
        """Two sessions of a network that agree by chance, beside others that do not."""
        spec = replace(SPEC, min_sessions=2, max_sessions=2)

        def script(code: str, session: int, _round: int) -> Block:
            return block(1e-3 * (1.0 if code == "a" else 1 + 0.05 * session))

        _, (calm, *others) = measure(Scripted(script), JOBS[:3], spec)
        spreads = [o.spread for o in (calm, *others)]
        assert spreads[0] == 0.0 < spreads[1]
        expected = math.sqrt(sum(spread**2 for spread in spreads) / 3)
        assert [o.group_spread for o in (calm, *others)] == pytest.approx([expected] * 3)
        alone, _ = measured(script, spec)
        assert alone.group_spread is None
        assert (alone.verdict, calm.verdict) == ("ok", "unresolved")

    def test_of_a_group_leave_controls_and_failures_out_of_its_spread(self):
        def script(code: str, session: int, _round: int) -> Block:
            if code == "b":
                raise WrongOutput("off by 3")
            return block(1e-3 * (1 + 0.05 * session * (code == "d")))

        jobs = [*JOBS[:3], replace(JOBS[3], control=True)]
        _, (first, _, second, control) = measure(Scripted(script), jobs, SPEC)
        assert first.group_spread == second.group_spread == first.spread
        assert control.group_spread is None

    def test_of_an_exact_device_are_one(self):
        agent = Scripted(lambda *_: block(), [replace(FACTS, exact=True)])
        _, (found,) = measure(agent, JOBS[:1], replace(SPEC, rounds=1))
        assert agent.sessions == ["a"]
        assert (found.verdict, found.interval_s) == ("ok", (1e-3, 1e-3))

    def test_leave_out_what_does_not_fit_into_memory_together(self):
        def job(megabytes: int) -> Job:
            tensor = TensorSpec("x", (megabytes << 18,), 1.0)
            program = Program((tensor,), 0, ())
            return Job(NETWORKS[0], Artifact("", None, "", 0, 0.0, program))

        facts = replace(FACTS, info={"memory_bytes": str(100 << 20)})
        jobs = [job(10), job(10), job(10), job(90), job(1)]
        assert [len(group) for group in groups(jobs, facts)] == [2, 1, 1, 1]
        assert [len(group) for group in groups(jobs, FACTS)] == [5]


class TestFaults:
    def test_of_one_network_leave_the_others_alone(self):
        def script(code: str, session: int, _round: int) -> Block:
            if code == "b":
                raise WrongOutput("off by 3")
            if code == "c" and session == 1:
                raise NetworkCrashed("died of SIGSEGV")
            return block()

        agent = Scripted(script)
        _, outcomes = measure(agent, JOBS, SPEC)
        assert [type(o) for o in outcomes] == [
            Measurement,
            WrongOutput,
            NetworkCrashed,
            Measurement,
        ]
        assert agent.sessions == ["abcd", "acd", "acd", "ad", "ad"]

    def test_of_the_device_are_everybodys_who_has_not_ended(self):
        def script(code: str, session: int, _round: int) -> Block:
            if session == 3:
                raise DeviceLost("silent")
            return block(1e-3 * scattered("b" if code == "a" else "", session))

        class Lost(Scripted):
            def session(self, jobs, spec, number):
                try:
                    return super().session(jobs, spec, number)
                except DeviceLost as e:
                    e.network = None
                    raise

        _, outcomes = measure(Lost(script), JOBS[:2], replace(SPEC, half_width=0.025))
        assert [type(o) for o in outcomes] == [DeviceLost, Measurement]

    def test_a_device_that_changes_meanwhile_is_measured_again(self):
        slower = replace(FACTS, identity={"governor": "powersave"})
        agent = Scripted(lambda *_: block(), [FACTS, slower])
        facts, (outcome,) = measure(agent, JOBS[:1], SPEC)
        assert facts == slower
        assert outcome.retryable
        assert "governor was 'performance' and is 'powersave'" in str(outcome)

    def test_a_change_of_target_is_told_too(self):
        told = difference(replace(FACTS, target="llvm"), replace(FACTS, target="cuda"))
        assert told == "its target was 'llvm' and is 'cuda'"


REJECTED = {
    "throttled: the clock was 20.0% below its baseline": block(clock_probe_s=5e-5),
    "throttled: the device reports flags 0x4": block(throttled=4),
    "throttled: slowed down 2 times for its heat": block(throttles=2),
    "contended: waited for its core 10.0% of the time": block(
        waited_s=3e-3, involuntary_switches=20
    ),
    "contended: a hypervisor took 0.02 of 0.03 s": block(steal_s=0.02),
    "contended: something else ran on its core all the time": block(core_probe=4e-6),
    "clock: 0.400 s were timed within 0.030 s": block(0.02),
    "clock: the device's time jumped by +3600.00 s": block(utc_elapsed_s=3600.03),
}


def rejection(block: Block) -> Rejection | None:
    return verdict.rejection(
        block.telemetry,
        timed_s=block.timed_s,
        shared=block.shared or (False,) * len(block.samples_s),
        probes={"clock_probe_s": 4e-5, "core_probe": 3e-6},
    )


class TestRejection:
    @pytest.mark.parametrize("reason", REJECTED)
    def test_says_why(self, reason):
        assert rejection(REJECTED[reason]) == Rejection(*reason.split(": ", 1))

    @pytest.mark.parametrize(
        "good",
        [
            block(),
            block(waited_s=3e-3, involuntary_switches=9),
            block(waited_s=8e-4, involuntary_switches=40),
            block(clock_probe_s=4.4e-5),  # 9 % below
            block(core_probe=3.8e-6),
            replace(block(), shared=(True,) * 19 + (False,)),
            block(clock_probe_s=2e-5),  # a clock above its baseline is for controls to divide out
            Block((1.0,), 1, {}),
        ],
    )
    def test_leaves_what_was_spared_in_half_of_its_samples(self, good):
        assert rejection(good) is None

    @pytest.mark.parametrize(
        ("bad", "counts"),
        [
            (block(1.3e-3, clock_probe_s=8e-5), True),
            (block(1.3e-3, steal_s=0.02), True),
            (block(0.5e-3, utc_elapsed_s=60.0), False),
        ],
    )
    def test_counts_all_the_same_unless_time_was_wrong(self, bad, counts):
        found, _ = measured(lambda _c, s, r: bad if (s, r) in ((0, 1), (1, 3)) else block())
        assert (found.verdict, found.latency_s) == ("ok", 1e-3)
        assert len(found.blocks) == 12
        assert [b.rejected is not None for b in found.blocks].count(True) == 2
        assert len(found.samples_s) == (12 if counts else 10)

    def test_samples_on_a_shared_core_tell_nothing_where_there_are_others(self):
        """A fifth to a half slower, in most of the samples, whenever a neighbour likes."""
        slow, own = block(1.3e-3), block()
        shared = [i % 20 > 2 for i in range(len(own.samples_s))]
        mixed = [
            b if s else a for a, b, s in zip(own.samples_s, slow.samples_s, shared, strict=True)
        ]
        busy = replace(own, samples_s=tuple(mixed), shared=tuple(shared))
        never = replace(slow, shared=(True,) * len(shared))
        found, _ = measured(lambda _c, _s, r: busy if r else never)
        assert (found.verdict, found.latency_s) == ("ok", 1e-3)
        assert [b.latency_s for b in found.blocks[:3]] == pytest.approx([1.3e-3, 1e-3, 1e-3])
        assert {str(b.rejected and b.rejected.kind) for b in found.blocks[:3]} == {
            "contended",
            "None",
        }

    def test_sessions_on_a_shared_core_are_no_reason_to_give_up(self):
        """They say nothing of what the next one will; two that had the core at times are enough."""
        slow, own = (replace(block(s), shared=(s > 1e-3,) * 20) for s in (1.3e-3, 1e-3))
        spec = replace(SPEC, min_sessions=2, max_sessions=6)
        agent = Scripted(lambda _c, session, _r: own if session in (1, 4) else slow)
        _, (found,) = measure(agent, JOBS[:1], spec)
        assert (found.latency_s, found.sessions_alone) == (pytest.approx(1e-3), 2)
        assert len(found.warmup_s) == 5
        assert {b.session for b in found.counted} == {1, 4}
        assert found.verdict == "ok"  # though three in five blocks were disturbed
        agent = Scripted(lambda *_: slow)
        _, (found,) = measure(agent, JOBS[:1], spec)
        assert (found.latency_s, found.verdict) == (pytest.approx(1.3e-3), "contended")
        assert len(found.warmup_s) == 6

    def test_of_what_is_faster_while_it_waits_counts(self):
        """Nothing makes a block too fast but a wrong clock."""
        bad = block(0.9e-3, steal_s=0.02)
        found, _ = measured(lambda _c, _s, r: bad if r == 0 else block())
        assert found.latency_s == pytest.approx(0.9e-3)

    def test_a_clock_above_its_baseline_is_divided_out(self):
        """By the control networks, which saw the same one."""
        known = Baseline({(NETWORKS[3].id, None): (1e-3,)}, {"clock_probe_s": (4e-5,)})
        jobs = [JOBS[0], replace(JOBS[3], control=True)]
        agent = Scripted(lambda *_: block(0.9e-3, clock_probe_s=3.6e-5))
        _, (found, _) = measure(
            agent, jobs, replace(SPEC, half_width=0.03), {FACTS.fingerprint: known}
        )
        assert (found.verdict, found.clock_probe_s) == ("ok", 4e-5)
        assert found.latency_s == pytest.approx(1e-3)
        assert {b.rejected for b in found.blocks} == {None}

    def test_the_baseline_clock_is_what_counts(self):
        slow = block(1.2e-3, clock_probe_s=4.8e-5)
        known = {FACTS.fingerprint: Baseline(probes={"clock_probe_s": (4e-5,)})}
        _, (found,) = measure(Scripted(lambda *_: slow), JOBS[:1], SPEC, known)
        assert (found.verdict, found.clock_probe_s) == ("throttled", 4e-5)
        _, (fresh,) = measure(Scripted(lambda *_: slow), JOBS[:1], SPEC)
        assert (fresh.verdict, fresh.clock_probe_s) == ("ok", 4.8e-5)

    def test_without_a_baseline_the_clock_is_that_of_the_fastest_quarter(self):
        """One fast moment is not the clock, and half of the blocks may be slower."""

        def script(_code: str, session: int, round: int) -> Block:
            fast, slow = (session, round) == (0, 0), round % 2
            return block(clock_probe_s=3e-5 if fast else 8e-5 if slow else 4e-5)

        found, _ = measured(script)
        assert found.clock_probe_s == pytest.approx((3e-5 + 2 * 4e-5) / 3)

    def test_where_nothing_is_left_all_count_and_nothing_is_ok(self):
        found, _ = measured(lambda *_: block(utc_elapsed_s=60.0))
        assert (found.verdict, found.latency_s) == ("unresolved", 1e-3)


def judged(kinds: str, half_width: float) -> str:
    """The verdict of blocks, each a letter: fine, throttled, contended, or of a wrong clock."""
    of = {"t": Rejection("throttled", ""), "c": Rejection("contended", ""), "w": WRONG}
    return verdict.verdict([of.get(kind) for kind in kinds], half_width=half_width, wanted=0.01)


WRONG = Rejection("clock", "")


class TestVerdicts:
    @pytest.mark.parametrize(
        ("kinds", "half_width", "expected"),
        [
            ("ffff", 0.01, "ok"),
            ("ffff", 0.011, "noisy"),
            ("ffff", 0.05, "noisy"),
            ("ffff", 0.051, "unresolved"),
            # Disturbed blocks alone make no verdict where the interval is narrow enough all the
            # same, unless there are so many that the fastest quarter has some of them.
            ("fctc", 0.01, "ok"),
            ("fctc", 0.02, "contended"),
            ("fttc", 0.02, "throttled"),
            ("ffffffftcc", 0.02, "noisy"),
            ("fffffftccc", 0.02, "contended"),
            ("fctc", 0.2, "contended"),
            ("cctc", 0.001, "contended"),
            ("wwww", 0.001, "unresolved"),
            ("wwwf", 0.001, "ok"),
        ],
    )
    def test_follow_the_interval_and_what_disturbed(self, kinds, half_width, expected):
        assert judged(kinds, half_width) == expected

    @pytest.mark.parametrize(
        ("spread", "verdict"), [(0.0, "ok"), (0.02, "noisy"), (0.2, "unresolved")]
    )
    def test_of_sessions_follow_their_spread(self, spread, verdict):
        found, _ = measured(lambda _c, s, _r: block(1e-3 * (1 + spread * (s % 2))))
        assert found.verdict == verdict
        assert found.rules == RULES

    def test_of_a_device_that_is_throttled_throughout_say_so(self):
        found, _ = measured(lambda *_: block(throttled=4))
        assert (found.verdict, found.latency_s) == ("throttled", 1e-3)

    def test_of_a_clock_that_cannot_be_believed_is_unresolved(self):
        found, _ = measured(lambda *_: block(utc_elapsed_s=3600.0))
        assert found.verdict == "unresolved"

    def test_of_a_single_block_is_unresolved(self):
        spec = replace(SPEC, min_sessions=1, max_sessions=1, rounds=1)
        found, _ = measured(lambda *_: block(), spec)
        assert found.verdict == "unresolved"
        assert found.interval_s == (0.0, float("inf"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sample_s": 1e-6}, "`sample_s` must be at least 0.0001 s"),
        ({"half_width": 0.0}, "`half_width` must be a positive number, got 0.0"),
        ({"half_width": float("nan")}, "`half_width` must be a positive number"),
        ({"max_sessions": 2}, "`max_sessions` must be at least `min_sessions`, 5, got 2"),
        ({"rounds": 0}, "`rounds` must be at least 1, got 0"),
        ({"batch": 0}, "`batch` must be at least 1, got 0"),
        ({"block_s": -1.0}, "`block_s` must be a positive number of seconds, got -1.0"),
    ],
)
def test_a_spec_that_cannot_be_measured_by_is_refused(change, says):
    with pytest.raises(ValueError, match=says.replace("(", r"\(")):
        MeasureSpec(**change)


class TestPrecision:
    def test_from_two_per_cent_on_makes_short_work(self):
        coarse = MeasureSpec().at_precision(0.05)
        assert (coarse.half_width, coarse.min_sessions) == (0.05, 2)
        assert coarse.budget_s < MeasureSpec().budget_s
        fine = MeasureSpec().at_precision(0.019)
        assert fine == replace(MeasureSpec(), half_width=0.019)

    def test_makes_no_more_work_than_was_asked_for(self):
        quick = MeasureSpec(min_sessions=1, max_sessions=1, budget_s=0.1, block_s=0.01)
        assert quick.at_precision(0.05) == replace(quick, half_width=0.05, warmup_s=0.1)

    @pytest.mark.parametrize("half_width", [0.0, -0.1, 1.0, float("nan"), float("inf")])
    def test_that_is_none_is_refused(self, half_width):
        with pytest.raises(ValueError, match="a precision is between 0 and 100 %, got"):
            MeasureSpec().at_precision(half_width)

    @pytest.mark.parametrize("text", ["5%", " 5 % ", "0.05", "5e-2"])
    def test_is_read_as_a_share(self, text):
        assert share(text) == pytest.approx(0.05)

    @pytest.mark.parametrize("text", ["", "%", "5 percent", "5%%"])
    def test_that_is_no_number_is_refused(self, text):
        with pytest.raises(ValueError, match="a share is written as 5% or"):
            share(text)


def test_the_disturbed_blocks_of_a_measurement_are_a_share():
    found, _ = measured(lambda _c, _s, r: block(steal_s=0.02) if r == 0 else block())
    assert found.disturbed == 0.25
