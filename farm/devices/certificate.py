"""Examines a device: how fine, how steady and how correct its latencies are, in about a minute.

One that is added is looked at for some seconds. Only through the agents' contract, so that it is
the same for every kind of device.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from statistics import median, pstdev
from typing import Any

from farm.core.errors import DeviceError
from farm.measurement.agent import Agent
from farm.measurement.estimator import latency
from farm.measurement.record import Block, Job, Measurement
from farm.measurement.sessions import measure
from farm.measurement.spec import MeasureSpec

LOAD_S = 30.0

_SESSIONS, _ROUNDS = 4, 6
_FEWER_SESSIONS, _FEWER_ROUNDS = 3, 2

_SLOW = 10.0
"""Our seconds for one of the device's, from which on it is examined by its first network."""

_SHORT_S, _LONG_S = 1e-4, 1e-2
"""Lengths of samples between which the cost of reading the timer shows."""

_FLAT = 0.02
"""Warm is a network whose samples are so near the latency, relatively."""

_FINEST_S = 1e-10
"""Samples that differ by less differ by the arithmetic of doubles."""


@dataclass(frozen=True)
class Certificate:
    """What a device can tell apart. Shares are of 1; spreads are relative standard deviations.

    latency_s: of each network that it was examined with.
    timer_resolution_s: the smallest difference between two samples.
    timer_overhead_s: what a sample is longer than the runs in it.
    block_spread: of blocks' latencies within a session; session_spread: between sessions.
    warmup_samples: until samples are within 2 % of the latency; the most of all networks.
    drift: how much slower it was at the end of `load_s` seconds of load, None where there was
        none; temp_c: at the end, if known.
    correct: whether outputs were compared with the oracle, and were right; None where the device
        computes nothing. (A wrong one is a WrongOutput, and there is no certificate.)
    rejected: share of the blocks that were disturbed, by reason.
    shared: share of the samples that shared their core; None where the device does not see that.
    resolves: the smallest relative difference between two latencies that shows, with 95 %.
    """

    latency_s: Mapping[str, float]
    timer_resolution_s: float | None
    timer_overhead_s: float
    block_spread: float
    session_spread: float
    warmup_samples: int
    drift: float | None
    load_s: float
    temp_c: float | None
    correct: bool | None
    rejected: Mapping[str, float]
    shared: float | None
    resolves: float

    def to_json(self) -> dict[str, Any]:
        finite = self.resolves if math.isfinite(self.resolves) else None
        return {**asdict(self), "resolves": finite}


def certify(agent: Agent, jobs: Sequence[Job], spec: MeasureSpec, load_s: float) -> Certificate:
    """Examine a started device with a few networks, small ones first, as `spec` measures.

    load_s: how long it is kept busy, by our clock.
    Raises the DeviceError that says why that was not possible.
    """
    pace = float(agent.facts().info.get("pace", 1.0))
    load = _load(spec, load_s / pace)
    if pace >= _SLOW:
        return _examine(agent, jobs[:1], jobs[1:], _brief(spec), load)
    return _examine(agent, jobs, (), _lasting(spec, _SESSIONS, _ROUNDS), load)


def certify_briefly(agent: Agent, jobs: Sequence[Job], spec: MeasureSpec) -> Certificate:
    """As `certify`, without load, and all but the first network in a single short session."""
    return _examine(agent, jobs[:1], jobs[1:], _brief(spec), None)


def _brief(spec: MeasureSpec) -> MeasureSpec:
    return _lasting(spec, _FEWER_SESSIONS, _FEWER_ROUNDS)


def _lasting(spec: MeasureSpec, sessions: int, rounds: int) -> MeasureSpec:
    return replace(spec, min_sessions=sessions, max_sessions=sessions, rounds=rounds)


def _examine(
    agent: Agent,
    often: Sequence[Job],
    once: Sequence[Job],
    spec: MeasureSpec,
    load: MeasureSpec | None,
) -> Certificate:
    """often: networks that are measured as `spec` says; once: in a single short session."""
    repeated = _measured(agent, often, spec)
    found = [*repeated, *_measured(agent, once, _lasting(spec, 1, 1))]
    short, long = (
        _measured(agent, often[:1], replace(_lasting(spec, 1, spec.rounds), sample_s=s))[0]
        for s in (_SHORT_S, _LONG_S)
    )
    loaded = _measured(agent, often[-1:], load)[0].blocks if load else ()
    blocks = [*(block for m in found for block in m.blocks), *loaded]
    return Certificate(
        latency_s={m.network.id: m.latency_s for m in found},
        timer_resolution_s=_resolution_s(short.blocks),
        timer_overhead_s=_overhead_s(short, long),
        block_spread=max(_block_spread(m) for m in repeated),
        session_spread=max(_session_spread(m) for m in repeated),
        warmup_samples=max(_warmup_samples(m) for m in found),
        drift=_drift(loaded) if load else None,
        load_s=sum(block.timed_s for block in loaded),
        temp_c=blocks[-1].telemetry.get("temp_c"),
        correct=None if often[0].artifact is None else True,
        rejected=_rejected(blocks),
        shared=_shared(blocks),
        resolves=max(math.sqrt(2) * m.half_width for m in repeated),
    )


def _load(spec: MeasureSpec, load_s: float) -> MeasureSpec:
    """One session without a pause, in blocks of a second."""
    block_s = min(1.0, load_s / 5)
    return replace(
        spec,
        min_sessions=1,
        max_sessions=1,
        rounds=max(5, round(load_s / block_s)),
        block_s=block_s,
        warmup_s=0.0,
        pause_s=0.0,
        timeout_s=max(spec.timeout_s, 10 + 3 * load_s),
    )


def _measured(agent: Agent, jobs: Sequence[Job], spec: MeasureSpec) -> list[Measurement]:
    if not jobs:
        return []
    _, outcomes = measure(agent, jobs, spec)
    for outcome in outcomes:
        if isinstance(outcome, DeviceError):
            raise outcome
    return [outcome for outcome in outcomes if isinstance(outcome, Measurement)]


def _resolution_s(blocks: Sequence[Block]) -> float | None:
    """None where all samples are the same."""
    times_s = sorted(s * block.runs_per_sample for block in blocks for s in block.samples_s)
    steps_s = [after - before for before, after in pairwise(times_s)]
    return min((step_s for step_s in steps_s if step_s > _FINEST_S), default=None)


def _overhead_s(short: Measurement, long: Measurement) -> float:
    """From samples of few runs and of many: each is r latencies and one overhead."""
    few, many = (m.blocks[0].runs_per_sample for m in (short, long))
    if few == many:
        return 0.0
    each_s = (short.latency_s - long.latency_s) / (1 / few - 1 / many)
    return max(0.0, each_s)


def _by_session(measurement: Measurement) -> list[list[float]]:
    rows: dict[int, list[float]] = {}
    for block in measurement.counted:
        rows.setdefault(block.session, []).append(block.latency_s)
    return list(rows.values())


def _block_spread(measurement: Measurement) -> float:
    return median(pstdev(row) for row in _by_session(measurement)) / measurement.latency_s


def _session_spread(measurement: Measurement) -> float:
    levels_s = [latency([row]) for row in _by_session(measurement)]
    return pstdev(levels_s) / measurement.latency_s


def _warmup_samples(measurement: Measurement) -> int:
    """The median over sessions."""
    warm_s = measurement.latency_s * (1 + _FLAT)
    counts = [
        next((i for i, sample_s in enumerate(row) if sample_s <= warm_s), len(row))
        for row in measurement.warmup_s
    ]
    return int(median(counts))


def _drift(blocks: Sequence[Block]) -> float:
    """Of the last fifth of the blocks to the first one."""
    fifth = max(1, len(blocks) // 5)
    first_s, last_s = (
        median(block.latency_s for block in part) for part in (blocks[:fifth], blocks[-fifth:])
    )
    return last_s / first_s - 1


def _rejected(blocks: Sequence[Block]) -> dict[str, float]:
    kinds = Counter(b.rejected.kind for b in blocks if b.rejected is not None)
    return {kind: count / len(blocks) for kind, count in sorted(kinds.items())}


def _shared(blocks: Sequence[Block]) -> float | None:
    seen = [one for block in blocks for one in block.shared]
    return sum(seen) / len(seen) if seen else None
