"""How slow a device is just now, by control networks that are timed among the others.

A host that shares its sockets, caches or heat with somebody moves all networks together, by some
percent and for minutes, and so does a clock. What the control networks take in the same processes
and the same seconds, against the device's baseline, is divided out: the substitution weighing of
metrology. The raw samples stay as they are. Pure functions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import TypeVar

from farm.measurement.estimator import level
from farm.measurement.record import Control, Measurement, Series
from farm.measurement.verdict import fast_probes

BASELINE_ROUNDS = 5
"""Rounds of control networks that a baseline is made of; then it is fixed."""


@dataclass(frozen=True)
class Baseline:
    """What a device takes while nothing disturbs it, under one fingerprint, in seconds.

    controls: of each control network, what its first rounds said; probes: what each of
    `verdict.PROBES` took in the first rounds that showed it.
    """

    controls: Mapping[Series, tuple[float, ...]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    probes: Mapping[str, tuple[float, ...]] = field(default_factory=lambda: MappingProxyType({}))

    @cached_property
    def levels_s(self) -> dict[Series, float]:
        """The latency of each control network."""
        return {series: level(rounds_s) for series, rounds_s in self.controls.items()}

    @cached_property
    def probe_levels(self) -> dict[str, float]:
        """What each probe takes."""
        return {name: level(rounds_s) for name, rounds_s in self.probes.items()}

    def after(self, control: Measurement) -> Baseline:
        """The baseline with what a control network says now, and the probes meanwhile; of each as
        it was once that is fixed."""
        said_s = {series(control): control.latency_s}
        probed_s = fast_probes(block.telemetry for block in control.blocks)
        return Baseline(_added(self.controls, said_s), _added(self.probes, probed_s))


_Name = TypeVar("_Name")


def _added(
    known_s: Mapping[_Name, tuple[float, ...]], said_s: Mapping[_Name, float]
) -> dict[_Name, tuple[float, ...]]:
    """The rounds with one more, up to `BASELINE_ROUNDS` of each."""
    more = {name: (*known_s.get(name, ()), value_s) for name, value_s in said_s.items()}
    return {**known_s, **{name: rounds_s[:BASELINE_ROUNDS] for name, rounds_s in more.items()}}


def change(before: Baseline, after: Baseline) -> float | None:
    """How many times as slow as before a device is: the factor between latencies that were told at
    the two baselines. None where no control network is known of both, however it was built."""
    old_s, new_s = ({network: s for (network, _), s in b.levels_s.items()} for b in (before, after))
    logs = [math.log(new_s[network] / old_s[network]) for network in old_s.keys() & new_s.keys()]
    return math.exp(sum(logs) / len(logs)) if logs else None


def series(measurement: Measurement) -> Series:
    return measurement.network.id, measurement.build_key


def corrections(
    space: str, controls: Sequence[Measurement], levels_s: Mapping[Series, float]
) -> tuple[Control, ...]:
    """What the control networks took, as measurements of a search space keep it: those of the
    space, or all where there are none of it.

    Networks of one space suffer alike: small ones from who shares the core, those whose weights
    do not fit into its cache from who shares the memory. A control network that is not in
    `levels_s` is compared with itself over all its sessions.
    """
    own = [m for m in controls if m.network.space == space] or controls
    return tuple(
        Control(series(m), _by_session(m), levels_s.get(series(m), m.latency_s)) for m in own
    )


def together(control: Control, sessions: int) -> Control:
    """A control network as a network saw it that took part in the first sessions only."""
    return replace(control, blocks_s=control.blocks_s[:sessions])


def _by_session(control: Measurement) -> tuple[tuple[float, ...], ...]:
    """Of each session: from the blocks that count, where it has any. One in which the core was
    never its own says what all others do: a host that leaves the core alone in these is hardly
    slower in that one."""
    known_s = level([block.latency_s for block in control.counted])
    rows = []
    for session in range(len(control.warmup_s)):
        blocks, good = (
            [block for block in some if block.session == session]
            for some in (control.blocks, control.counted)
        )
        shared = not good and all(block.never_alone for block in blocks)
        rows.append((known_s,) if shared else tuple(b.latency_s for b in good or blocks))
    return tuple(rows)
