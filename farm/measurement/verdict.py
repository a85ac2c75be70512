"""Which blocks count, and what a measurement is worth. Pure functions of primitives.

The farm decides; a device only sends telemetry. It has what the device can show, and what is
missing is not judged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from farm.measurement.estimator import level

VERDICTS = ("ok", "noisy", "unresolved", "throttled", "contended")
"""ok: the interval is as narrow as the spec asks for.
noisy: it is not, when the sessions or the budget ended, or more of them would not have helped.
unresolved: it is more than `UNRESOLVED` times as wide, or the clock cannot be believed.
throttled, contended: it is not, and more than `MANY_DISTURBED` of the blocks were disturbed, most
of them since the device ran slower than it can, or was busy with something else; or so many that
even the fastest blocks were."""

NOT_LEFT_ALONE = ("unresolved", "throttled", "contended")
"""The verdicts of devices that did something else meanwhile."""

RULES = 3
"""The version of the rules in this file. It is stored with every measurement that they judged, and
goes up with every threshold or rule that changes."""

UNRESOLVED = 5.0
MANY_DISTURBED = 0.3

_NEARLY_ALL = 0.75
"""Disturbed blocks beyond which the fastest quarter has some of them, too."""

_SLOW_CLOCK = 0.1
"""How far below its baseline the clock is throttled. A turbo clock moves by several percent from
minute to minute on a shared host: that is for drift correction to divide out."""

_SHARED_CORE = 1.3
"""So many times as long as at its baseline takes the probe of a core that is never left alone."""

_WAITED = 0.03
"""Share of a block that the network may have waited for its core. Interruptions of milliseconds
leave most runs alone: on a core that was interrupted 700 times a second, blocks that waited for 2 %
had the lower quartile of those that waited for 1 %, to .3 %, while their mean was 1 % longer."""

_STOLEN = 0.1
"""The same for a hypervisor's steal time, which is counted in hundredths of a second."""

_LATE_S = 0.05


@dataclass(frozen=True)
class Rejection:
    """Why a block was disturbed, or does not count. kind: `clock`, `throttled` or `contended`;
    reason: in words."""

    kind: str
    reason: str

    @property
    def counts(self) -> bool:
        """Whether the block counts all the same: the fastest quarter of the blocks bears it that
        others waited, and drift correction divides the clock out."""
        return self.kind != "clock"


PROBES = ("clock_probe_s", "core_probe")
"""Telemetry that says how long a fixed piece of work took: of the clock, see
`agents.on_device.core.clock_probe_s`, and of a core by itself, see `CoreProbe` there."""


def fast_probes(telemetry: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """What each of `PROBES` takes in the fastest quarter of the blocks, of those that the device
    shows."""
    blocks = list(telemetry)
    shown = {name: [seen[name] for seen in blocks if name in seen] for name in PROBES}
    return {name: level(probes) for name, probes in shown.items() if probes}


def rejection(
    telemetry: Mapping[str, float],
    *,
    timed_s: float,
    shared: Sequence[bool],
    probes: Mapping[str, float],
) -> Rejection | None:
    """What speaks against a block; None where nothing does.

    timed_s: seconds inside its timed samples.
    shared: of each sample, whether something else ran on its core.
    probes: what each of `PROBES` takes at the baseline, of those that are known.
    """
    return (
        _wrong_clock(telemetry, timed_s)
        or _throttled(telemetry, probes.get("clock_probe_s"))
        or _contended(telemetry, len(shared))
        or _on_shared_core(telemetry, shared, probes.get("core_probe"))
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
    if baseline_s is None or probe_s is None or baseline_s / probe_s >= 1 - _SLOW_CLOCK:
        return None
    below = 1 - baseline_s / probe_s
    return Rejection("throttled", f"the clock was {below:.1%} below its baseline")


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


def _on_shared_core(
    seen: Mapping[str, float], shared: Sequence[bool], baseline_s: float | None
) -> Rejection | None:
    probe_s = seen.get("core_probe", 0.0)
    never = baseline_s is not None and probe_s > _SHARED_CORE * baseline_s
    if never or all(shared):
        return Rejection("contended", "something else ran on its core all the time")
    return None


def verdict(rejections: Sequence[Rejection | None], *, half_width: float, wanted: float) -> str:
    """One of `VERDICTS`, of a measurement whose blocks have these against them, or nothing.

    half_width: of its 95 % interval, relative; wanted: what its spec asks for.
    """
    kinds = Counter(one.kind for one in rejections if one is not None)
    disturbed = (kinds["throttled"] + kinds["contended"]) / len(rejections)
    width = half_width / wanted
    if kinds["clock"] == len(rejections):
        return "unresolved"
    if disturbed > _NEARLY_ALL or (disturbed > MANY_DISTURBED and width > 1):
        return max(("throttled", "contended"), key=lambda kind: kinds[kind])
    if width > UNRESOLVED:
        return "unresolved"
    return "ok" if width <= 1 else "noisy"
