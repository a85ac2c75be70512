"""Which blocks count, and what a measurement is worth. Pure functions; the farm decides, the
device only witnesses.

A witness has what its device can show; what is missing is not judged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from farm.measurement.record import Block, Measurement

VERDICTS = ("ok", "noisy", "unresolved", "throttled", "contended")
"""ok: the interval is as narrow as the spec asks for.
noisy: it is not, when the sessions or the budget ended.
unresolved: it is more than `UNRESOLVED` times as wide, or the clock cannot be believed.
throttled, contended: more than `MOST_REJECTED` of the blocks were rejected, most of them since
the device ran slower than it can, or was busy with something else."""

DISTURBED = ("unresolved", "throttled", "contended")
"""The verdicts of devices that were not left alone."""

UNRESOLVED = 5.0
MOST_REJECTED = 0.3

_OTHER_CLOCK = 0.02
"""Relative difference of the clock's probe from the usual one that is another clock: less than a
step of a turbo clock, and several times what the probe varies by itself."""

_WAITED = 0.03
"""Share of a block that the network may have waited for its core. Interruptions of milliseconds
leave most runs alone: on a core that was interrupted 700 times a second, blocks that waited for 2 %
had the lower quartile of those that waited for 1 %, to .3 %, while their mean was 1 % longer."""

_STOLEN = 0.1
"""The same for a hypervisor's steal time, which is counted in hundredths of a second."""

_LATE_S = 0.05

_FAR = 0.1
"""Relative difference of the reference networks' time from the usual that is too much to be
divided out: networks differ in what they suffer from."""


def usual_probe_s(blocks: Sequence[Block]) -> float | None:
    """What the clock's probe takes on a device as a rule: the median over blocks."""
    probes = [b.witness["clock_probe_s"] for b in blocks if "clock_probe_s" in b.witness]
    return median(probes) if probes else None


def rejection(block: Block, usual_s: float | None, slowdown: float = 1.0) -> str | None:
    """Why a block does not count, or None: `kind: reason`, kind one of `clock`, `throttled`,
    `contended`.

    usual_s: what the clock's probe takes at the device's usual clock; None where it is not known.
    slowdown: how many times as long as usual reference networks took in the session.
    """
    seen = block.witness
    disturbed = _throttled(seen, usual_s) or _contended(block, seen) or _slowed(slowdown)
    return _wrong_clock(block, seen) or disturbed


def _wrong_clock(block: Block, seen: Mapping[str, float]) -> str | None:
    elapsed_s = seen.get("elapsed_s")
    if elapsed_s is None:
        return None
    if block.timed_s > elapsed_s * 1.001 + 1e-3:
        return f"clock: {block.timed_s:.3f} s were timed within {elapsed_s:.3f} s"
    if abs(seen.get("utc_elapsed_s", elapsed_s) - elapsed_s) > _LATE_S:
        jump_s = seen["utc_elapsed_s"] - elapsed_s
        return f"clock: the device's time jumped by {jump_s:+.2f} s"
    return None


def _throttled(seen: Mapping[str, float], usual_s: float | None) -> str | None:
    if seen.get("throttled", 0) > 0:
        return f"throttled: the device reports flags {int(seen['throttled']):#x}"
    if seen.get("throttles", 0) > 0:
        return f"throttled: slowed down {int(seen['throttles'])} times for its heat"
    probe_s = seen.get("clock_probe_s")
    if usual_s is None or probe_s is None or abs(usual_s / probe_s - 1) <= _OTHER_CLOCK:
        return None
    if probe_s > usual_s:
        return f"throttled: the clock was {1 - usual_s / probe_s:.1%} below its usual"
    return f"clock: it was {usual_s / probe_s - 1:.1%} above its usual"


def _contended(block: Block, seen: Mapping[str, float]) -> str | None:
    elapsed_s = seen.get("elapsed_s", 0.0)
    stolen_s, waited_s = seen.get("steal_s", 0.0), seen.get("waited_s", 0.0)
    if stolen_s > _STOLEN * elapsed_s:
        return f"contended: a hypervisor took {stolen_s:.2f} of {elapsed_s:.2f} s"
    # A lower quartile bears it that some samples are disturbed.
    half = seen.get("involuntary_switches", 0) >= len(block.samples_s) / 2
    if half and waited_s > _WAITED * elapsed_s:
        return f"contended: waited for its core {waited_s / elapsed_s:.1%} of the time"
    return None


def _slowed(slowdown: float) -> str | None:
    if slowdown > 1 + _FAR:
        return f"contended: reference networks took {slowdown - 1:.1%} longer than usual"
    if slowdown < 1 - _FAR:
        return f"clock: reference networks took {1 - slowdown:.1%} less time than usual"
    return None


def verdict(measurement: Measurement) -> str:
    """One of `VERDICTS`. Exact devices are always `ok`."""
    blocks = measurement.blocks
    rejected = Counter(b.rejected.partition(":")[0] for b in blocks if b.rejected is not None)
    # A clock that is at times above its usual takes nothing from the blocks that are left.
    disturbed = rejected["throttled"] + rejected["contended"]
    if disturbed > MOST_REJECTED * len(blocks):
        return max(("throttled", "contended"), key=lambda kind: rejected[kind])
    width = measurement.half_width / measurement.spec.half_width
    if width > UNRESOLVED or rejected.total() == len(blocks):
        return "unresolved"
    return "ok" if width <= 1 else "noisy"
