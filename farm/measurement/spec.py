"""How networks are measured: frozen, checked when made, free of I/O. SI units."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from farm.measurement import estimator


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
    batch: batch size of networks that leave theirs open, as those of search spaces do; the latency
        is of the whole batch.
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

    @property
    def quantity(self) -> tuple[int, int]:
        """What of it says which latency is measured; the rest says how well."""
        return self.batch, self.flush_bytes

    @property
    def most_samples(self) -> int:
        """In a block: as many of the shortest as fill `block_s`, one more for rounding, and what is
        added where the core was shared."""
        shortest_s = self.sample_s if self.flush_bytes == 0 else _SHORTEST_RUN_S
        filled = math.ceil(self.block_s / shortest_s) + 1
        return max(self.min_samples, filled) + 2 * self.min_samples

    def at_precision(self, half_width: float) -> MeasureSpec:
        """The same for another half-width, with as little work as that takes: from 2 % on, two
        short sessions tell enough where the host is left alone.

        Raises ValueError for a half-width that is none.
        """
        if not 0 < half_width < 1:
            raise ValueError(f"a precision is between 0 and 100 %, got {half_width:.0%}")
        if half_width < COARSE:
            return replace(self, half_width=half_width)
        return replace(
            self,
            half_width=half_width,
            min_sessions=min(self.min_sessions, 2),
            max_sessions=min(self.max_sessions, 6),
            budget_s=min(self.budget_s, 2.0),
            block_s=min(self.block_s, 0.02),
            warmup_s=min(self.warmup_s, 0.1),
        )

    def session_s(self, latency_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Device seconds of one session of networks that take so long: the longest warm-up and the
        rounds of blocks, which are longer where a few samples are."""
        block_s = np.maximum(self.block_s, self.min_samples * np.maximum(latency_s, self.sample_s))
        return np.asarray(self.warmup_s + self.rounds * block_s)

    def sessions(self, spread: float) -> int:
        """How many sessions it takes where they differ so much, relatively, from each other."""
        wanted = math.ceil((estimator.Z_95 * spread / self.half_width) ** 2)
        return min(max(wanted, self.min_sessions), self.max_sessions)

    def of_kernels(self) -> MeasureSpec:
        """The same for networks of one kernel: many, of microseconds each, of which a network's
        latency is a sum, so that their errors average out."""
        return replace(
            self,
            half_width=max(self.half_width, COARSE),
            min_sessions=min(self.min_sessions, 2),
            max_sessions=min(self.max_sessions, 4),
            budget_s=min(self.budget_s, 1.0),
            rounds=min(self.rounds, 3),
            block_s=min(self.block_s, 0.01),
            warmup_s=min(self.warmup_s, 0.02),
        )


COARSE = 0.02
"""Half-widths from which on `MeasureSpec.at_precision` measures in short sessions."""

SHORTEST_SAMPLE_S = 1e-4
"""The runner's timer is read twice a sample, for a tenth of a microsecond on any device."""


_SHORTEST_RUN_S = 1e-7
"""Calling a network takes as long."""

_LEAST = {"min_sessions": 1, "rounds": 1, "min_samples": 1, "batch": 1, "flush_bytes": 0}
