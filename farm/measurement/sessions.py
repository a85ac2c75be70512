"""Measuring a group of networks on one device: sessions until each latency is known well enough.

The agent only times; which blocks count, who takes part in another session and when it is enough
is decided here, on the farm's side.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import compress
from types import MappingProxyType

from farm.core.errors import DeviceChanged, DeviceError, blaming
from farm.core.values import DeviceFacts
from farm.measurement import verdict
from farm.measurement.agent import Agent
from farm.measurement.drift_correction import Baseline, corrections, together
from farm.measurement.record import Block, Control, Job, Measurement, Session
from farm.measurement.spec import MeasureSpec

MEMORY_SHARE = 0.25
"""Share of a device's memory that the networks of one session may fill."""


_ALONE = 2
"""Sessions with the core to themselves at times, from which on one can tell what more would do."""


@dataclass
class _Course:
    """What became of a job so far. It takes part in sessions from the first on, without a gap."""

    job: Job
    sessions: list[Session] = field(default_factory=list)
    error: DeviceError | None = None

    @property
    def blocks(self) -> list[Block]:
        return [
            replace(block, session=number)
            for number, session in enumerate(self.sessions)
            for block in session.blocks
        ]


@dataclass(frozen=True)
class _Terms:
    """What all courses of a group have in common. baseline: as known before it."""

    facts: DeviceFacts
    spec: MeasureSpec
    baseline: Baseline


def measure(
    agent: Agent,
    jobs: Sequence[Job],
    spec: MeasureSpec,
    baselines: Mapping[str, Baseline] = MappingProxyType({}),
) -> tuple[DeviceFacts, list[Measurement | DeviceError]]:
    """Measure all jobs; the device as it was meanwhile, and for each job what came of it.

    A network that fails is left out of the next session, the others go on. Jobs that are
    control networks take part as long as any other does, and what they show is divided out of
    the others' latencies.
    baselines: of the device, by fingerprint; where none is known yet, it is what these sessions
    show.
    Raises DeviceError where the device itself cannot be used.
    """
    facts = agent.facts()
    terms = _Terms(facts, spec, baselines.get(facts.fingerprint, Baseline()))
    outcomes = [o for group in groups(jobs, facts) for o in _group(agent, group, terms)]
    after = agent.facts()
    if after.fingerprint != facts.fingerprint:
        changed = DeviceChanged(
            f"{facts.device} changed while it measured: {difference(facts, after)}"
        )
        return after, [changed for _ in outcomes]
    return facts, outcomes


def groups(jobs: Sequence[Job], facts: DeviceFacts) -> Iterator[list[Job]]:
    """The jobs in order, in groups whose tensors fit into the device's memory together."""
    most_bytes = MEMORY_SHARE * float(facts.info.get("memory_bytes", "inf"))
    group: list[Job] = []
    size_bytes = 0
    for job in jobs:
        needed_bytes = job.artifact.program.size_bytes if job.artifact else 0
        if group and size_bytes + needed_bytes > most_bytes:
            yield group
            group, size_bytes = [], 0
        group.append(job)
        size_bytes += needed_bytes
    yield group


def difference(before: DeviceFacts, after: DeviceFacts) -> str:
    """What differs between two fingerprints of a device, in words."""
    names = sorted({*before.identity, *after.identity})
    told = [
        f"{name} was {before.identity.get(name)!r} and is {after.identity.get(name)!r}"
        for name in names
        if before.identity.get(name) != after.identity.get(name)
    ]
    return "; ".join(told) or f"its target was {before.target!r} and is {after.target!r}"


def _group(agent: Agent, jobs: Sequence[Job], terms: _Terms) -> list[Measurement | DeviceError]:
    courses = [_Course(job) for job in jobs]
    left = list(range(len(courses)))
    for number in range(1 if terms.facts.exact else terms.spec.max_sessions):
        _hold_session(agent, [courses[i] for i in left], terms, number)
        outcomes = _outcomes(courses, terms)
        left = [i for i in left if not _settled(courses[i], outcomes[i], terms.spec)]
        if all(courses[i].job.control for i in left):
            # Control networks alone show enough of the device with the fewest sessions.
            left = [i for i in left if len(courses[i].sessions) < terms.spec.min_sessions]
        if not left:
            break
    return outcomes


def _hold_session(agent: Agent, courses: Sequence[_Course], terms: _Terms, number: int) -> None:
    """One session of all; a network that fails in it is taken out, and the session held again."""
    left = list(courses)
    while left:
        jobs = [course.job for course in left]
        try:
            sessions = agent.session(jobs, terms.spec, number)
            must_be_asked_for(sessions, len(jobs), terms.spec, terms.facts.device)
        except DeviceError as e:
            _blame(left, e)
            continue
        except ValueError as e:  # of a value that no measurement has
            _blame(left, DeviceError(f"{terms.facts.device} says what cannot be: {e}"))
            continue
        for course, session in zip(left, sessions, strict=True):
            course.sessions.append(session)
        return


def must_be_asked_for(
    sessions: Sequence[Session], networks: int, spec: MeasureSpec, device: str
) -> None:
    """Raises DeviceError, which names the device, where there is another number of sessions, blocks
    or samples than the spec asks for."""
    if len(sessions) != networks:
        raise DeviceError(f"{device} was asked for {networks} networks, got {len(sessions)}")
    for number, session in enumerate(sessions):
        with blaming(number):
            if len(session.blocks) != spec.rounds:
                found = len(session.blocks)
                raise DeviceError(f"{device} was asked for {spec.rounds} blocks, got {found}")
            samples = max(len(block.samples_s) for block in session.blocks)
            if samples > spec.most_samples:
                raise DeviceError(
                    f"{device} was asked for at most {spec.most_samples} samples in a block, "
                    f"got {samples}"
                )


def _blame(left: list[_Course], error: DeviceError) -> None:
    """Ends the courses that an error is about: one, or all where it is not said which, or one that
    was not asked for."""
    known = error.network is not None and 0 <= error.network < len(left)
    guilty = [left[error.network or 0]] if known else left
    for course in list(guilty):
        course.error = error
        left.remove(course)


def _settled(course: _Course, outcome: Measurement | DeviceError, spec: MeasureSpec) -> bool:
    """Whether another session of this network would be a waste. A control network goes on."""
    if isinstance(outcome, DeviceError):
        return True
    done = len(course.sessions)
    if course.job.control or done < spec.min_sessions:
        return False
    if outcome.device_s >= spec.budget_s:
        return True
    if outcome.sessions_alone < min(done, _ALONE):
        return False
    if outcome.half_width <= spec.half_width:
        return True
    affordable = int(done * spec.budget_s / outcome.device_s) if outcome.device_s else done
    most = min(spec.max_sessions, max(affordable, done + 1))
    # A single block says nothing of what more of them would.
    return spec.half_width < outcome.half_width_after(most) < math.inf


def _outcomes(courses: Sequence[_Course], terms: _Terms) -> list[Measurement | DeviceError]:
    """What came of a group as far as it got, each judged by all."""
    telemetry = [block.telemetry for course in courses for block in course.blocks]
    probes = {**verdict.fast_probes(telemetry), **terms.baseline.probe_levels}
    timed = [
        _measurement(course, terms, probes)
        for course in courses
        if course.job.control and course.error is None
    ]
    spaces = {course.job.network.space for course in courses}
    known_s = terms.baseline.levels_s
    controls = {space: corrections(space, timed, known_s) for space in spaces}

    def outcome(course: _Course) -> Measurement | DeviceError:
        against = () if course.job.control else controls[course.job.network.space]
        return course.error or _measurement(course, terms, probes, against)

    outcomes = [outcome(course) for course in courses]
    others = [not course.job.control for course in courses]
    spread = _group_spread(compress(outcomes, others))
    return [
        replace(o, group_spread=spread) if other and isinstance(o, Measurement) else o
        for other, o in zip(others, outcomes, strict=True)
    ]


def _group_spread(outcomes: Iterable[Measurement | DeviceError]) -> float | None:
    """The root mean square of their spread; None for a network alone, and before two sessions."""
    measured = [outcome for outcome in outcomes if isinstance(outcome, Measurement)]
    spreads = [m.spread for m in measured if m.spread is not None]
    if len(spreads) < 2:
        return None
    return math.sqrt(sum(spread**2 for spread in spreads) / len(spreads))


def _measurement(
    course: _Course,
    terms: _Terms,
    probes: Mapping[str, float],
    controls: Sequence[Control] = (),
) -> Measurement:
    """probes: see `verdict.rejection`; controls: see `drift_correction.corrections`."""
    blocks, artifact = course.blocks, course.job.artifact
    reasons = [
        verdict.rejection(
            block.telemetry,
            timed_s=block.timed_s,
            shared=block.shared or (False,) * len(block.samples_s),
            probes=probes,
        )
        for block in blocks
    ]
    return Measurement(
        network=course.job.network,
        device=terms.facts.device,
        fingerprint=terms.facts.fingerprint,
        build_key=artifact.build_key if artifact else None,
        spec=terms.spec,
        blocks=tuple(replace(b, rejected=r) for b, r in zip(blocks, reasons, strict=True)),
        warmup_s=tuple(session.warmup_s for session in course.sessions),
        exact=terms.facts.exact,
        device_s=sum(session.device_s for session in course.sessions),
        measured_at=datetime.now(UTC).isoformat(),
        clock_probe_s=probes.get("clock_probe_s"),
        warmup_taken_s=sum(session.warmup_taken_s for session in course.sessions),
        controls=tuple(together(control, len(course.sessions)) for control in controls),
    )
