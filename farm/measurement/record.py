"""What a measurement is made of: frozen, checked when made, free of I/O. SI units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

from farm.core.values import Artifact, Network
from farm.measurement import estimator
from farm.measurement.verdict import RULES, Rejection, verdict


@dataclass(frozen=True)
class MeasureSpec:
    """How one network is measured on one device.

    A session is a fresh process on the device, which times the networks of a group in rounds: a
    block of samples of each, in random order. Sessions go on until the 95 % interval of the
    latency is narrow enough.

    half_width: relative half-width of the interval that is good enough.
    min_sessions, max_sessions: bounds of how many sessions a network takes part in.
    budget_s: after so many seconds of device time for it a network gets no further session.
    rounds: blocks of each network in a session.
    block_s: time inside timed samples in each block.
    min_samples: samples in a block, however slow the network is.
    sample_s: a sample repeats the network until it lasts at least this long, so that
        the timer's resolution and overhead stay far below the sample.
    warmup_s: longest warm-up; it ends as soon as the median of its blocks is flat.
    pause_s: pause between two rounds.
    flush_bytes: so much memory is written before each sample, which is then a single run with
        cold caches; 0 measures with warm ones.
    batch: batch size of the network's input; the latency is of the whole batch.
    seed: of the weights and the input.
    timeout_s: limit for what a network does at a stretch: to load, to warm up, a block.
    """

    half_width: float = 0.01
    min_sessions: int = 5
    max_sessions: int = 16
    budget_s: float = 10.0
    rounds: int = 3
    block_s: float = 0.05
    min_samples: int = 3
    sample_s: float = 1e-3
    warmup_s: float = 0.5
    pause_s: float = 0.0
    flush_bytes: int = 0
    batch: int = 1
    seed: int = 0
    timeout_s: float = 60.0

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        for name in ("half_width", "budget_s", "block_s", "timeout_s", "warmup_s", "pause_s"):
            value = getattr(self, name)
            if not (value > 0 or (value == 0 and name in ("warmup_s", "pause_s"))):
                unit = "number" if name == "half_width" else "number of seconds"
                raise ValueError(f"`{name}` must be a positive {unit}, got {value!r}")
        for name, least in _LEAST.items():
            if getattr(self, name) < least:
                raise ValueError(f"`{name}` must be at least {least}, got {getattr(self, name)!r}")
        if not self.sample_s >= SHORTEST_SAMPLE_S:
            raise ValueError(
                f"`sample_s` must be at least {SHORTEST_SAMPLE_S:g} s, a thousand times what it "
                f"costs to read the timer, got {self.sample_s!r}"
            )
        if self.max_sessions < self.min_sessions:
            raise ValueError(
                f"`max_sessions` must be at least `min_sessions`, {self.min_sessions}, "
                f"got {self.max_sessions!r}"
            )


SHORTEST_SAMPLE_S = 1e-4
"""The runner's timer is read twice a sample, for a tenth of a microsecond on any device."""


_LEAST = {"min_sessions": 1, "rounds": 1, "min_samples": 1, "batch": 1, "flush_bytes": 0}


@dataclass(frozen=True)
class Job:
    """A network to be timed.

    artifact: None for a device that needs none.
    control: whether it is a control network, timed for what it says of the device, see
        `farm.measurement.drift_correction`.
    """

    network: Network
    artifact: Artifact | None
    control: bool = False


@dataclass(frozen=True)
class Block:
    """A network timed without a break.

    samples_s: raw samples, each in seconds for a single run.
    runs_per_sample: how often a sample ran the network.
    telemetry: readings around it, see `agents.linux.telemetry`: `waited_s`, `temp_c`, `steal_s`...
    session: the number of the session that it was in.
    rejected: why it does not count; None for a good one.
    """

    samples_s: tuple[float, ...]
    runs_per_sample: int
    telemetry: Mapping[str, float]
    session: int = 0
    rejected: Rejection | None = None

    @property
    def latency_s(self) -> float:
        """What it says of the network, see `estimator.of_block`, at the speed of the moment."""
        return estimator.of_block(self.samples_s)

    @property
    def timed_s(self) -> float:
        """Seconds inside timed samples."""
        return sum(self.samples_s) * self.runs_per_sample


@dataclass(frozen=True)
class Session:
    """What one network did in one session.

    warmup_s: raw samples of the warm-up, in seconds for a single run.
    device_s: its share of the device's time; warmup_taken_s: of that, how long it warmed up.
    """

    warmup_s: tuple[float, ...]
    blocks: tuple[Block, ...]
    device_s: float
    warmup_taken_s: float = 0.0


_UNSEEN = 0.003
"""What a network does otherwise than the control networks for minutes, relative, one standard
deviation. Without it, 95 % intervals held the value of a longer run in 83 % of 120 cases
(benchmarks/fidelity.py)."""


@dataclass(frozen=True)
class Measurement:
    """One network, measured once on one device, with everything that was seen.

    blocks: in the order in which they were timed, those that do not count included.
    warmup_s: raw samples of the warm-up of each session, as rows, in seconds for a single run.
    exact: see `DeviceFacts`.
    clock_probe_s: what the clock's probe takes at the device's baseline clock, by which blocks
        were judged; None where the device shows no clock.
    device_s: how long the device was busy with it; warmup_taken_s: of that, with warm-ups.
    measured_at: UTC, ISO 8601.
    slowdown: how many times as long as their baseline the control networks took in each session;
        empty where none were timed.
    rules: the version of the rules that judged its blocks, see `verdict.RULES`; 0 for those of
        before they had one.
    given_verdict: what they said of it when it was stored; None for one that is not stored yet.
    """

    network: Network
    device: str
    fingerprint: str
    build_key: str | None
    spec: MeasureSpec
    blocks: tuple[Block, ...]
    warmup_s: tuple[tuple[float, ...], ...]
    exact: bool
    device_s: float
    measured_at: str
    clock_probe_s: float | None = None
    warmup_taken_s: float = 0.0
    slowdown: tuple[float, ...] = ()
    rules: int = RULES
    given_verdict: str | None = field(default=None, compare=False)

    @cached_property
    def latency_s(self) -> float:
        """The statistic of record, see `estimator.latency`: at the device's baseline."""
        return estimator.latency(self._by_session())

    @cached_property
    def interval_s(self) -> tuple[float, float]:
        """A 95 % interval of `latency_s`."""
        if self.exact:
            return self.latency_s, self.latency_s
        return estimator.interval(self._by_session(), _UNSEEN if self.slowdown else 0.0)

    @property
    def half_width(self) -> float:
        """Half of `interval_s`, relative to `latency_s`."""
        low_s, high_s = self.interval_s
        return (high_s - low_s) / 2 / self.latency_s

    @cached_property
    def verdict(self) -> str:
        """One of `farm.measurement.verdict.VERDICTS`, by the rules that judged its blocks."""
        return self.given_verdict or verdict(
            [block.rejected for block in self.blocks],
            half_width=self.half_width,
            wanted=self.spec.half_width,
        )

    @property
    def timed_s(self) -> float:
        """Seconds inside the timed samples of all blocks and the warm-ups before them: each
        session's, and the run that comes before each block."""
        warmup_s = self.warmup_taken_s + self.latency_s * len(self.blocks)
        return warmup_s + sum(block.timed_s for block in self.blocks)

    @property
    def samples_s(self) -> tuple[tuple[float, ...], ...]:
        """The samples that count, a row for each block."""
        return tuple(block.samples_s for block in self.counted)

    @property
    def counted(self) -> tuple[Block, ...]:
        """The blocks that count; where all were rejected there is nothing better than all."""
        return tuple(b for b in self.blocks if b.rejected is None) or self.blocks

    def _by_session(self) -> list[list[float]]:
        """What each block that counts says, at the device's baseline, a row for each session."""
        sessions = sorted({block.session for block in self.counted})
        slowdown = dict(enumerate(self.slowdown))
        return [
            [
                block.latency_s / slowdown.get(session, 1.0)
                for block in self.counted
                if block.session == session
            ]
            for session in sessions
        ]


@dataclass(frozen=True)
class Failure:
    """A measurement that did not come about. Never a sentinel number.

    kind: `kind` of the error in `farm.core.errors` that it stands for.
    """

    network: Network
    device: str
    kind: str
    message: str
    retryable: bool
