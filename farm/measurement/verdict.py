"""Which blocks count, and what a measurement is worth. Pure functions of primitives.

The farm decides; a device only sends telemetry. It has what the device can show, and what is
missing is not judged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

VERDICTS = ("ok", "noisy", "unresolved", "throttled", "contended")
"""ok: the interval is as narrow as the spec asks for.
noisy: it is not, when the sessions or the budget ended.
unresolved: it is more than `UNRESOLVED` times as wide, or the clock cannot be believed.
throttled, contended: more than `MOST_REJECTED` of the blocks were rejected, most of them since
the device ran slower than it can, or was busy with something else."""

NOT_LEFT_ALONE = ("unresolved", "throttled", "contended")
"""The verdicts of devices that did something else meanwhile."""

RULES = 1
"""The version of the rules in this file. It is stored with every measurement that they judged, and
goes up with every threshold or rule that changes."""

UNRESOLVED = 5.0
MOST_REJECTED = 0.3

_OTHER_CLOCK = 0.02
"""Relative difference of the clock's probe from the baseline that is another clock: less than a
step of a turbo clock, and several times what the probe varies by itself."""

_WAITED = 0.03
"""Share of a block that the network may have waited for its core. Interruptions of milliseconds
leave most runs alone: on a core that was interrupted 700 times a second, blocks that waited for 2 %
had the lower quartile of those that waited for 1 %, to .3 %, while their mean was 1 % longer."""

_STOLEN = 0.1
"""The same for a hypervisor's steal time, which is counted in hundredths of a second."""

_LATE_S = 0.05

_FAR = 0.1
"""Relative difference of the control networks' time from their baseline that is too much to be
divided out: networks differ in what they suffer from."""


@dataclass(frozen=True)
class Rejection:
    """Why a block does not count. kind: `clock`, `throttled` or `contended`; reason: in words."""

    kind: str
    reason: str


def median_probe_s(telemetry: Iterable[Mapping[str, float]]) -> float | None:
    """The median over blocks of the clock's probe; None where the device shows no clock."""
    probes = [seen["clock_probe_s"] for seen in telemetry if "clock_probe_s" in seen]
    return median(probes) if probes else None


def rejection(
    telemetry: Mapping[str, float],
    *,
    timed_s: float,
    samples: int,
    baseline_probe_s: float | None,
    slowdown: float = 1.0,
) -> Rejection | None:
    """Why a block of so many `samples` does not count; None where it does.

    timed_s: seconds inside its timed samples.
    baseline_probe_s: what the clock's probe takes at the baseline clock; None where that is not
        known.
    slowdown: how many times as long as their baseline the control networks took in the session.
    """
    return (
        _wrong_clock(telemetry, timed_s)
        or _throttled(telemetry, baseline_probe_s)
        or _contended(telemetry, samples)
        or _slowed(slowdown)
    )


def _wrong_clock(seen: Mapping[str, float], timed_s: float) -> Rejection | None:
    elapsed_s = seen.get("elapsed_s")
    if elapsed_s is None:
        return None
    if timed_s > elapsed_s * 1.001 + 1e-3:
        return Rejection("clock", f"{timed_s:.3f} s were timed within {elapsed_s:.3f} s")
    if abs(seen.get("utc_elapsed_s", elapsed_s) - elapsed_s) > _LATE_S:
        jump_s = seen["utc_elapsed_s"] - elapsed_s
        return Rejection("clock", f"the device's time jumped by {jump_s:+.2f} s")
    return None


def _throttled(seen: Mapping[str, float], baseline_s: float | None) -> Rejection | None:
    if seen.get("throttled", 0) > 0:
        return Rejection("throttled", f"the device reports flags {int(seen['throttled']):#x}")
    if seen.get("throttles", 0) > 0:
        times = int(seen["throttles"])
        return Rejection("throttled", f"slowed down {times} times for its heat")
    probe_s = seen.get("clock_probe_s")
    if baseline_s is None or probe_s is None or abs(baseline_s / probe_s - 1) <= _OTHER_CLOCK:
        return None
    if probe_s > baseline_s:
        below = 1 - baseline_s / probe_s
        return Rejection("throttled", f"the clock was {below:.1%} below its baseline")
    return Rejection("clock", f"it was {baseline_s / probe_s - 1:.1%} above its baseline")


def _contended(seen: Mapping[str, float], samples: int) -> Rejection | None:
    elapsed_s = seen.get("elapsed_s", 0.0)
    stolen_s, waited_s = seen.get("steal_s", 0.0), seen.get("waited_s", 0.0)
    if stolen_s > _STOLEN * elapsed_s:
        return Rejection("contended", f"a hypervisor took {stolen_s:.2f} of {elapsed_s:.2f} s")
    # A lower quartile bears it that some samples are slower.
    half = seen.get("involuntary_switches", 0) >= samples / 2
    if half and waited_s > _WAITED * elapsed_s:
        share = waited_s / elapsed_s
        return Rejection("contended", f"waited for its core {share:.1%} of the time")
    return None


def _slowed(slowdown: float) -> Rejection | None:
    if slowdown > 1 + _FAR:
        longer = slowdown - 1
        return Rejection(
            "contended", f"control networks took {longer:.1%} longer than their baseline"
        )
    if slowdown < 1 - _FAR:
        less = 1 - slowdown
        return Rejection("clock", f"control networks took {less:.1%} less time than their baseline")
    return None


def verdict(rejections: Sequence[Rejection | None], *, half_width: float, wanted: float) -> str:
    """One of `VERDICTS`, of a measurement whose blocks were rejected for these reasons, or not.

    half_width: of its 95 % interval, relative; wanted: what its spec asks for.
    """
    rejected = Counter(one.kind for one in rejections if one is not None)
    # A clock that is at times above its baseline takes nothing from the blocks that are left.
    if rejected["throttled"] + rejected["contended"] > MOST_REJECTED * len(rejections):
        return max(("throttled", "contended"), key=lambda kind: rejected[kind])
    width = half_width / wanted
    if width > UNRESOLVED or rejected.total() == len(rejections):
        return "unresolved"
    return "ok" if width <= 1 else "noisy"
