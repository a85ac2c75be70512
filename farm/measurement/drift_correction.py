"""How slow a device is just now, by control networks that are timed among the others.

A host that shares its sockets, caches or heat with somebody moves all networks together, by some
percent and for minutes, at an unchanged clock. What they take in the same process and
the same seconds, against their baseline, is divided out: the substitution weighing of
metrology. The raw samples stay as they are. Pure functions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from types import MappingProxyType

from farm.measurement.record import Measurement

Series = tuple[str, str | None]
"""Network id and build key: what is built otherwise is another control network."""


@dataclass(frozen=True)
class Baseline:
    """What a device was like when its chart began, under one fingerprint.

    clock_probe_s: what the clock's probe takes; None where that is not known.
    controls_s: the latency of each control network, in seconds.
    """

    clock_probe_s: float | None = None
    controls_s: Mapping[Series, float] = field(default_factory=lambda: MappingProxyType({}))


def baselines_after(
    known: Mapping[str, Baseline], measured: Iterable[tuple[Measurement, bool]]
) -> dict[str, Baseline]:
    """The baselines, by fingerprint, once these are measured, too: what was first seen stays, so
    that the results of two days compare, but throttled and contended measurements begin nothing.

    measured: each with whether it is a control network.
    """
    after = dict(known)
    for measurement, is_control in measured:
        baseline = after.setdefault(measurement.fingerprint, Baseline())
        new = is_control and series(measurement) not in baseline.controls_s
        if not new and baseline.clock_probe_s is not None:
            continue  # before its verdict, which takes milliseconds
        if measurement.verdict in ("throttled", "contended"):
            continue
        if baseline.clock_probe_s is None:
            baseline = replace(baseline, clock_probe_s=measurement.clock_probe_s)
        if new:
            own_s = {series(measurement): measurement.latency_s}
            baseline = replace(baseline, controls_s={**baseline.controls_s, **own_s})
        after[measurement.fingerprint] = baseline
    return after


def change(before: Baseline, after: Baseline) -> float | None:
    """How many times as slow as before a device is: the factor between latencies that were told at
    the two baselines. None where no control network is known of both, however it was built."""
    old_s, new_s = (
        {network: s for (network, _), s in b.controls_s.items()} for b in (before, after)
    )
    logs = [math.log(new_s[network] / old_s[network]) for network in old_s.keys() & new_s.keys()]
    return math.exp(sum(logs) / len(logs)) if logs else None


def series(measurement: Measurement) -> Series:
    return measurement.network.id, measurement.build_key


def slowdown(
    space: str, controls: Sequence[Measurement], baseline_s: Mapping[Series, float]
) -> tuple[float, ...]:
    """(sessions,) how many times as long as their baseline the control networks took: the geometric
    mean over those of a search space, or over all where there are none of it. Empty without any.

    Networks of one space suffer alike: small ones from who shares the core, those whose weights
    do not fit into its cache from who shares the memory. A control network that is not in
    `baseline_s` is compared with itself over all its sessions.
    """
    own = [m for m in controls if m.network.space == space] or controls
    logs = [_log_ratios(m, baseline_s.get(series(m), m.latency_s)) for m in own]
    return tuple(math.exp(sum(row) / len(row)) for row in zip(*logs, strict=False))


def _log_ratios(control: Measurement, baseline_s: float) -> list[float]:
    return [math.log(taken_s / baseline_s) for taken_s in _taken_s(control)]


def _taken_s(control: Measurement) -> list[float]:
    """Of each session: from the blocks that count, where it has any."""
    taken = []
    for session in range(len(control.warmup_s)):
        blocks = [block for block in control.blocks if block.session == session]
        good = [block for block in blocks if block.rejected is None] or blocks
        taken.append(median(block.latency_s for block in good))
    return taken
