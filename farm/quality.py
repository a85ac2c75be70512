"""Which blocks count, and what a measurement is worth. Pure functions; the farm decides, the
device only witnesses.

A witness has what its device can show; what is missing is not judged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from farm.types import Block, Measurement

VERDICTS = ("ok", "noisy", "unresolved", "throttled", "contended")
"""ok: the interval is as narrow as the spec asks for.
noisy: it is not, when the sessions or the budget ended.
unresolved: it is more than `UNRESOLVED` times as wide, or the clock cannot be believed.
throttled, contended: more than `MOST_REJECTED` of the blocks were rejected, most of them since
the device ran slower than it can, or was busy with something else."""

UNRESOLVED = 5.0
MOST_REJECTED = 0.3

_SLOWER_CLOCK = 1.03
"""How much longer the clock's probe takes when a block is rejected: more than it ever varies
between neighbouring steps of a turbo clock."""

_WAITED = 0.005
"""Share of a block that the network may have waited for its core."""

_STOLEN = 0.1
"""The same for a hypervisor's steal time, which is counted in hundredths of a second."""

_LATE_S = 0.05


def judged(blocks: Sequence[Block], clock_probe_s: float | None) -> list[str | None]:
    """For each block why it does not count, or None.

    clock_probe_s: what the probe takes at the device's usual clock; None where it is not known.
    """
    return [rejection(block, clock_probe_s) for block in blocks]


def usual_probe_s(blocks: Sequence[Block]) -> float | None:
    """What the clock's probe takes on a device at its best: the lower quartile of what it took."""
    probes = sorted(b.witness["clock_probe_s"] for b in blocks if "clock_probe_s" in b.witness)
    return probes[len(probes) // 4] if probes else None


def rejection(block: Block, usual_s: float | None) -> str | None:
    """Why a block does not count: `kind: reason`, with kind `clock`, `throttled` or `contended`."""
    seen = block.witness
    return _wrong_clock(block, seen) or _throttled(seen, usual_s) or _contended(block, seen)


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
    if usual_s is not None and probe_s is not None and probe_s > usual_s * _SLOWER_CLOCK:
        return f"throttled: the clock was {1 - usual_s / probe_s:.1%} below its usual"
    return None


def _contended(block: Block, seen: Mapping[str, float]) -> str | None:
    elapsed_s = seen.get("elapsed_s", 0.0)
    stolen_s, waited_s = seen.get("steal_s", 0.0), seen.get("waited_s", 0.0)
    if stolen_s > _STOLEN * elapsed_s:
        return f"contended: a hypervisor took {stolen_s:.2f} of {elapsed_s:.2f} s"
    # As long as one sample was left alone the minimum of the block is good.
    every_sample = seen.get("involuntary_switches", 0) >= len(block.samples_s)
    if every_sample and waited_s > _WAITED * elapsed_s:
        return f"contended: waited for its core {waited_s / elapsed_s:.1%} of the time"
    return None


def verdict(measurement: Measurement) -> str:
    """One of `VERDICTS`. Exact devices are always `ok`."""
    blocks = measurement.blocks
    rejected = [block.rejected for block in blocks if block.rejected is not None]
    if len(rejected) > MOST_REJECTED * len(blocks):
        kind = Counter(reason.partition(":")[0] for reason in rejected).most_common(1)[0][0]
        return kind if kind in VERDICTS else "unresolved"
    if measurement.half_width <= measurement.spec.half_width:
        return "ok"
    wide = measurement.half_width > UNRESOLVED * measurement.spec.half_width
    return "unresolved" if wide else "noisy"
