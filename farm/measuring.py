"""Measuring a batch of networks on one device: sessions until each latency is known well enough.

The agent only times; which blocks count, who takes part in another session and when it is enough
is decided here, on the farm's side.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import MappingProxyType

from agents import Agent
from farm import quality
from farm.errors import DeviceError, DeviceLost
from farm.types import Block, DeviceFacts, Job, Measurement, MeasureSpec, Session

MEMORY_SHARE = 0.25
"""Share of a device's memory that the networks of one session may fill."""


@dataclass
class _Course:
    """What became of a job so far."""

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


def measure(
    agent: Agent,
    jobs: Sequence[Job],
    spec: MeasureSpec,
    clock_probe_s: Mapping[str, float] = MappingProxyType({}),
) -> tuple[DeviceFacts, list[Measurement | DeviceError]]:
    """Measure all jobs; the device as it was meanwhile, and for each job what came of it.

    A network that fails is left out of the next session, the others go on.
    clock_probe_s: what the clock's probe takes at the usual clock, by fingerprint; where that is
    not known yet, it is what it takes as a rule in these sessions.
    Raises DeviceError where the device itself cannot be used.
    """
    facts = agent.facts()
    usual_s = clock_probe_s.get(facts.fingerprint)
    outcomes = [
        outcome
        for batch in batches(jobs, facts)
        for outcome in _batch(agent, facts, batch, spec, usual_s)
    ]
    after = agent.facts()
    if after.fingerprint != facts.fingerprint:
        changed = DeviceLost(
            f"{facts.device} changed while it measured: {difference(facts, after)}"
        )
        return after, [changed for _ in outcomes]
    return facts, outcomes


def batches(jobs: Sequence[Job], facts: DeviceFacts) -> Iterator[list[Job]]:
    """The jobs in order, in groups whose tensors fit into the device's memory together."""
    most_bytes = MEMORY_SHARE * float(facts.info.get("memory_bytes", "inf"))
    batch: list[Job] = []
    size_bytes = 0
    for job in jobs:
        needed_bytes = job.artifact.program.size_bytes if job.artifact else 0
        if batch and size_bytes + needed_bytes > most_bytes:
            yield batch
            batch, size_bytes = [], 0
        batch.append(job)
        size_bytes += needed_bytes
    yield batch


def difference(before: DeviceFacts, after: DeviceFacts) -> str:
    """What differs between two fingerprints of a device, in words."""
    names = sorted({*before.identity, *after.identity})
    told = [
        f"{name} was {before.identity.get(name)!r} and is {after.identity.get(name)!r}"
        for name in names
        if before.identity.get(name) != after.identity.get(name)
    ]
    return "; ".join(told) or f"its target was {before.target!r} and is {after.target!r}"


def _batch(
    agent: Agent,
    facts: DeviceFacts,
    jobs: Sequence[Job],
    spec: MeasureSpec,
    usual_s: float | None,
) -> list[Measurement | DeviceError]:
    courses = [_Course(job) for job in jobs]

    probe_s = usual_s
    for number in range(1 if facts.exact else spec.max_sessions):
        taking_part = [course for course in courses if not _settled(course, facts, spec, probe_s)]
        if not taking_part:
            break
        _hold_session(agent, taking_part, spec, number)
        probe_s = usual_s or quality.usual_probe_s([b for c in courses for b in c.blocks])
    return [course.error or _measurement(course, facts, spec, probe_s) for course in courses]


def _hold_session(agent: Agent, courses: Sequence[_Course], spec: MeasureSpec, number: int) -> None:
    """One session of all; a network that fails in it is taken out, and the session held again."""
    left = list(courses)
    while left:
        try:
            sessions = agent.session([course.job for course in left], spec, number)
        except DeviceError as e:
            _blame(left, e)
            continue
        for course, session in zip(left, sessions, strict=True):
            course.sessions.append(session)
        return


def _blame(left: list[_Course], error: DeviceError) -> None:
    """Ends the courses that an error is about: one, or all where it is not said which."""
    guilty = left if error.network is None else [left[error.network]]
    for course in list(guilty):
        course.error = error
        left.remove(course)


def _settled(course: _Course, facts: DeviceFacts, spec: MeasureSpec, usual_s: float | None) -> bool:
    """Whether another session of this network would be a waste."""
    if course.error is not None:
        return True
    if len(course.sessions) < spec.min_sessions:
        return False
    if sum(session.device_s for session in course.sessions) >= spec.budget_s:
        return True
    return _measurement(course, facts, spec, usual_s).verdict == "ok"


def _measurement(
    course: _Course, facts: DeviceFacts, spec: MeasureSpec, usual_s: float | None
) -> Measurement:
    blocks = course.blocks
    reasons = [quality.rejection(block, usual_s) for block in blocks]
    artifact = course.job.artifact
    return Measurement(
        network=course.job.network,
        device=facts.device,
        fingerprint=facts.fingerprint,
        build_key=artifact.build_key if artifact else None,
        spec=spec,
        blocks=tuple(replace(b, rejected=r) for b, r in zip(blocks, reasons, strict=True)),
        warmup_s=tuple(session.warmup_s for session in course.sessions),
        exact=facts.exact,
        device_s=sum(session.device_s for session in course.sessions),
        measured_at=datetime.now(UTC).isoformat(),
        clock_probe_s=usual_s,
        warmup_taken_s=sum(session.warmup_taken_s for session in course.sessions),
    )
