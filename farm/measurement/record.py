"""What a measurement is made of: frozen, checked when made, free of I/O. SI units."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import compress
from operator import not_

from farm.core.checks import must_be_count, must_be_finite, must_not_be_negative
from farm.core.values import Artifact, Network
from farm.measurement import estimator
from farm.measurement.spec import MeasureSpec
from farm.measurement.verdict import RULES, Rejection, verdict

NEVER_ALONE = 0.25
"""Half of an interval, relative, of a network that had the core to itself in no session: how much
faster it is by itself differs from network to network."""

MOST_RUNS = 10**9
"""Of a network in a sample: a nanosecond each in a second; and sessions of a measurement."""


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
    rejected: what speaks against it, see `verdict.rejection`; None for a good one.
    shared: of each sample, whether something else ran on the same core meanwhile; empty where the
        device does not see that.
    """

    samples_s: tuple[float, ...]
    runs_per_sample: int
    telemetry: Mapping[str, float]
    session: int = 0
    rejected: Rejection | None = None
    shared: tuple[bool, ...] = ()

    def __post_init__(self) -> None:
        if not self.samples_s:
            raise ValueError("`samples_s` must have at least one sample, got none")
        if self.shared and len(self.shared) != len(self.samples_s):
            told, samples = len(self.shared), len(self.samples_s)
            raise ValueError(f"`shared` must say something of {samples} samples, got {told}")
        must_be_finite("samples_s", self.samples_s, above=0)
        must_be_count("runs_per_sample", self.runs_per_sample, 1, MOST_RUNS)
        must_be_count("session", self.session, 0, MOST_RUNS)
        must_be_finite("telemetry", self.telemetry.values())

    @property
    def counts(self) -> bool:
        """Whether it counts, whatever speaks against it."""
        return self.rejected is None or self.rejected.counts

    @property
    def latency_s(self) -> float:
        """What it says of the network, see `estimator.of_block`, at the speed of the moment."""
        return estimator.of_block(self.counted_s, any(self.shared))

    @property
    def never_alone(self) -> bool:
        """Whether all its samples shared their core."""
        return bool(self.shared) and all(self.shared)

    @cached_property
    def counted_s(self) -> tuple[float, ...]:
        """The samples that count: those that had the core to themselves, if there are any."""
        if self.never_alone or not self.shared:
            return self.samples_s
        return tuple(compress(self.samples_s, map(not_, self.shared)))

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

    def __post_init__(self) -> None:
        must_be_finite("warmup_s", self.warmup_s, above=0)
        must_not_be_negative("device_s", self.device_s)
        must_not_be_negative("warmup_taken_s", self.warmup_taken_s)


Series = tuple[str, str | None]
"""Of a control network, its network id and build key: what is built otherwise is another one."""


@dataclass(frozen=True)
class Control:
    """A control network, as it was timed in the sessions of a measurement.

    blocks_s: what each block says, in seconds, a row for each session.
    level_s: what it takes at the device's baseline.
    """

    series: Series
    blocks_s: tuple[tuple[float, ...], ...]
    level_s: float

    def __post_init__(self) -> None:
        for row in self.blocks_s:
            must_be_finite("blocks_s", row or (math.nan,), above=0)
        must_be_finite("level_s", (self.level_s,), above=0)


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
    controls: the control networks that were timed with it, of its search space where there are any;
        `latency_s` is told at their baseline.
    group_spread: see `estimator.half_width`.
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
    controls: tuple[Control, ...] = ()
    group_spread: float | None = None
    rules: int = RULES
    given_verdict: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not self.blocks:
            raise ValueError("a measurement must have `blocks`, got none")
        must_not_be_negative("device_s", self.device_s)
        must_not_be_negative("warmup_taken_s", self.warmup_taken_s)
        must_not_be_negative("group_spread", self.group_spread or 0.0)
        if self.clock_probe_s is not None:
            must_be_finite("clock_probe_s", (self.clock_probe_s,), above=0)
        sessions = 1 + max(block.session for block in self.blocks)
        for control in self.controls:
            if len(control.blocks_s) < sessions:
                raise ValueError(f"a control network must be in all {sessions} sessions")

    @cached_property
    def latency_s(self) -> float:
        """The statistic of record, see `estimator.latency`: at the device's baseline."""
        return estimator.latency(*self._by_session)

    @property
    def slowdown(self) -> float:
        """How many times as slow as at its baseline the device was; 1 where that is not known."""
        return estimator.slowdown(self._by_session[1])

    @property
    def interval_s(self) -> tuple[float, float]:
        """A 95 % interval of `latency_s`."""
        half_s = self.half_width * self.latency_s
        return max(0.0, self.latency_s - half_s), self.latency_s + half_s

    @cached_property
    def half_width(self) -> float:
        """Half of `interval_s`, relative to `latency_s`."""
        return self.half_width_after(None)

    def half_width_after(self, sessions: int | None) -> float:
        """What `half_width` would be after so many sessions, if they go on like these."""
        if self.exact:
            return 0.0
        half_width = estimator.half_width(*self._by_session, self.group_spread, sessions)
        return half_width if self.sessions_alone else math.hypot(half_width, NEVER_ALONE)

    @cached_property
    def spread(self) -> float | None:
        """From session to session, see `estimator.spread`."""
        return estimator.spread(*self._by_session)

    def at(self, levels_s: Mapping[Series, float]) -> Measurement:
        """The same, told at a baseline where the control networks take so long: with a verdict of
        its own, since the interval covers how slow the device was."""
        now = tuple(
            replace(control, level_s=levels_s.get(control.series, control.level_s))
            for control in self.controls
        )
        if now == self.controls:
            return self
        return replace(self, controls=now, rules=RULES, given_verdict=None)

    @cached_property
    def verdict(self) -> str:
        """One of `farm.measurement.verdict.VERDICTS`, by the rules that judged its blocks."""
        counted = set(map(id, self.counted))
        return self.given_verdict or verdict(
            # What was left out for others that had the core to themselves does no harm.
            [b.rejected for b in self.blocks if id(b) in counted or not b.never_alone],
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
        return tuple(block.counted_s for block in self.counted)

    @property
    def disturbed(self) -> float:
        """Share of the blocks that something speaks against."""
        return sum(block.rejected is not None for block in self.blocks) / len(self.blocks)

    @cached_property
    def counted(self) -> tuple[Block, ...]:
        """The blocks that count; where all were rejected there is nothing better than all. Once
        several sessions had the core to themselves at times, only what they saw then; of one that
        did, the same. A single block would say nothing of its error."""
        good = tuple(block for block in self.blocks if block.counts) or self.blocks
        own = tuple(block for block in good if not block.never_alone)
        alone = {block.session for block in own}
        if len(alone) == 1:
            own = tuple(b for b in good if not b.never_alone or b.session not in alone)
        return own if len(own) > 1 else good

    @property
    def sessions_alone(self) -> int:
        """How many sessions had the core to themselves at times, or do not show it."""
        return len({block.session for block in self.blocks if not block.never_alone})

    @cached_property
    def _by_session(self) -> tuple[list[list[float]], list[tuple[list[tuple[float, ...]], float]]]:
        """What each block that counts says, a row for each session that has any, and the same of
        the control networks with their baseline."""
        rows: dict[int, list[float]] = {}
        for block in self.counted:
            rows.setdefault(block.session, []).append(block.latency_s)
        sessions = sorted(rows)
        controls = [([c.blocks_s[i] for i in sessions], c.level_s) for c in self.controls]
        return [rows[i] for i in sessions], controls


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
