"""How slow a device is just now, by reference networks that are timed among the others.

A host that shares its sockets, caches or heat with somebody moves all networks together, by some
percent and for minutes, at an unchanged clock. What references take in the same process and the
same seconds, against what they usually take, is divided out: the substitution weighing of
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
"""Network id and build key: what is built otherwise is another reference."""


@dataclass(frozen=True)
class Usual:
    """What a device is like as a rule, under one fingerprint.

    clock_probe_s: what the clock's probe takes; None where that is not known.
    references_s: the latency of each reference, in seconds.
    """

    clock_probe_s: float | None = None
    references_s: Mapping[Series, float] = field(default_factory=lambda: MappingProxyType({}))


def usual_after(
    known: Mapping[str, Usual], measured: Iterable[tuple[Measurement, bool]]
) -> dict[str, Usual]:
    """What is usual, by fingerprint, once these are measured, too: what was first seen stays, so
    that the results of two days compare, but nothing is learnt from a device that was disturbed.

    measured: each with whether it is a reference.
    """
    after = dict(known)
    for measurement, reference in measured:
        usual = after.setdefault(measurement.fingerprint, Usual())
        new = reference and series(measurement) not in usual.references_s
        if not new and usual.clock_probe_s is not None:
            continue  # before its verdict, which takes milliseconds
        if measurement.verdict in ("throttled", "contended"):
            continue
        if usual.clock_probe_s is None:
            usual = replace(usual, clock_probe_s=measurement.clock_probe_s)
        if new:
            own_s = {series(measurement): measurement.latency_s}
            usual = replace(usual, references_s={**usual.references_s, **own_s})
        after[measurement.fingerprint] = usual
    return after


def change(before: Usual, after: Usual) -> float | None:
    """How many times as slow as before a device usually is: the factor between latencies that were
    told at the two usual speeds. None where no reference is known of both, however it was built."""
    old_s, new_s = (
        {network: s for (network, _), s in u.references_s.items()} for u in (before, after)
    )
    logs = [math.log(new_s[network] / old_s[network]) for network in old_s.keys() & new_s.keys()]
    return math.exp(sum(logs) / len(logs)) if logs else None


def series(measurement: Measurement) -> Series:
    return measurement.network.id, measurement.build_key


def slowdown(
    space: str, references: Sequence[Measurement], usual_s: Mapping[Series, float]
) -> tuple[float, ...]:
    """(sessions,) how many times as long as usual the references took: the geometric mean over
    those of a search space, or over all where there are none of it. Empty without references.

    Networks of one space suffer alike: small ones from who shares the core, those whose weights
    do not fit into its cache from who shares the memory. A reference that is not in `usual_s` is
    compared with itself over all its sessions.
    """
    own = [m for m in references if m.network.space == space] or references
    logs = [_log_ratios(m, usual_s.get(series(m), m.latency_s)) for m in own]
    return tuple(math.exp(sum(row) / len(row)) for row in zip(*logs, strict=False))


def _log_ratios(reference: Measurement, usual_s: float) -> list[float]:
    return [math.log(taken_s / usual_s) for taken_s in _taken_s(reference)]


def _taken_s(reference: Measurement) -> list[float]:
    """Of each session: from the blocks that count, where it has any."""
    taken = []
    for session in range(len(reference.warmup_s)):
        blocks = [block for block in reference.blocks if block.session == session]
        good = [block for block in blocks if block.rejected is None] or blocks
        taken.append(median(block.latency_s for block in good))
    return taken
