"""Did latencies change between two campaigns? Each network on each device gets a verdict.

A device that changed in between is another one, so to say. Where its control networks showed by
which factor (`farm.devices.equivalence.decide`), that is taken out, since it is not the networks
that changed; where they did not, its results are not compared unless somebody insists.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from farm.core.errors import UsageError
from farm.core.values import Network
from farm.measurement.record import Measurement
from farm.measurement.sessions import difference
from farm.store import Revision, Store, values

SAME, FASTER, SLOWER, UNDECIDED = "same", "faster", "slower", "undecided"
MARGIN = 0.02
"""Relative difference that does not matter."""


@dataclass(frozen=True)
class Change:
    """A network on a device in two campaigns.

    first, second: as measured. factor: what the first latency is multiplied by to hold on the
    device as it was for the second.
    ratio: the second latency over that; low, high: its interval. All intervals of one comparison
    hold together with 95 % (Bonferroni), so that a thousand networks that did not change raise no
    alarm.
    verdict: `same` where the interval lies within the margin, `faster` or `slower` where it does
    not and lies on one side of 1, else `undecided`.
    """

    network: Network
    device: str
    first: Measurement
    second: Measurement
    ratio: float
    low: float
    high: float
    verdict: str
    factor: float = 1.0

    def to_json(self) -> dict[str, Any]:
        return {
            "network": self.network.id,
            "device": self.device,
            "first_s": self.first.latency_s,
            "second_s": self.second.latency_s,
            "factor": self.factor,
            "ratio": self.ratio,
            "low": self.low,
            "high": self.high if math.isfinite(self.high) else None,
            "verdict": self.verdict,
            "same_fingerprint": self.first.fingerprint == self.second.fingerprint,
        }


@dataclass(frozen=True)
class Crossing:
    """Networks whose two results are of different revisions of a device.

    change: of the device, in words; reason: what its control networks said of older results.
    factor: how many times as slow it became; None where that is not known, so that the networks
    are not compared.
    """

    device: str
    networks: int
    change: str
    reason: str
    factor: float | None


@dataclass(frozen=True)
class Comparison:
    """missing: by campaign and device, how many networks have no result that counts."""

    changes: tuple[Change, ...]
    crossings: tuple[Crossing, ...]
    missing: Mapping[tuple[str, str], int]

    def to_json(self) -> dict[str, Any]:
        """What `farm compare --json` prints."""
        return {
            "counts": counts(self.changes),
            "networks": [
                {
                    **change.to_json(),
                    "first_verdict": change.first.verdict,
                    "second_verdict": change.second.verdict,
                }
                for change in self.changes
            ],
            "revisions": [asdict(crossing) for crossing in self.crossings],
            "missing": [
                {"campaign": campaign, "device": device, "networks": networks}
                for (campaign, device), networks in self.missing.items()
            ],
        }


_Pair = tuple[Measurement, Measurement]


def compare(
    store: Store, first: str, second: str, margin: float = MARGIN, as_measured: bool = False
) -> Comparison:
    """All networks that both campaigns measured on a device of the same name, in order.

    margin: see `MARGIN`. as_measured: compare what was measured, whatever became of the device.
    Raises UnknownName for a campaign that is not there, UsageError for a margin that is none and
    where the campaigns have nothing in common that can be compared.
    """
    if not 0 < margin < 1:
        raise UsageError(f"--margin must lie between 0 and 1, got {margin}; 0.02 is 2 %")
    names = [store.campaign(name).id for name in (first, second)]
    before, after = (
        {(m.network, m.device): m for m in store.measurements(campaign=name)} for name in names
    )
    pairs = [(before[key], after[key]) for key in before if key in after]
    revisions = {m.device: {e.fingerprint: e for e in store.revisions(m.device)} for m, _ in pairs}
    factors = [1.0 if as_measured else _factor(pair, revisions) for pair in pairs]
    found = [(pair, times) for pair, times in zip(pairs, factors, strict=True) if times is not None]
    crossings = _crossings(store, pairs, factors, revisions)
    missing = Counter((name, r.device) for name in names for r in store.pending(name))
    if not found:
        raise UsageError(_nothing(names, crossings, missing))
    changes = [change(*pair, len(found), margin, times) for pair, times in found]
    return Comparison(tuple(changes), crossings, missing)


def _factor(pair: _Pair, revisions: Mapping[str, Mapping[str, Revision]]) -> float | None:
    """What the first of two latencies is to be multiplied by; None where that is not known."""
    first, second = pair
    return values.factor(revisions[first.device], first.fingerprint, second.fingerprint)


def _crossings(
    store: Store,
    pairs: Sequence[_Pair],
    factors: Sequence[float | None],
    revisions: Mapping[str, Mapping[str, Revision]],
) -> tuple[Crossing, ...]:
    """Where devices changed in between, and what that means."""
    counted = Counter(
        (first.device, first.fingerprint, second.fingerprint, times)
        for (first, second), times in zip(pairs, factors, strict=True)
        if first.fingerprint != second.fingerprint
    )
    crossings = []
    for (device, then, now, times), networks in counted.items():
        facts = {one.fingerprint: one for one in store.facts(device)}
        decided = [e for e in revisions[device].values() if e.fingerprint in (then, now)]
        reason = decided[-1].reason if len(decided) == 2 else _UNDECIDED
        told = difference(facts[then], facts[now])
        crossings.append(Crossing(device, networks, told, reason, times))
    return tuple(crossings)


_UNDECIDED = "no control networks showed whether older results hold"


def _nothing(
    names: Sequence[str], crossings: Sequence[Crossing], missing: Mapping[tuple[str, str], int]
) -> str:
    """Why two campaigns cannot be compared."""
    if crossings:
        told = "; ".join(f"{c.device} changed: {c.change} ({c.reason})" for c in crossings)
        return (
            f"{names[0]} and {names[1]} are of different revisions: {told}; "
            "--as-measured compares them all the same"
        )
    lost = [
        f"; {number} networks of {name} on {device} have no result that counts, "
        f"`farm campaign resume {name}` measures them"
        for (name, device), number in missing.items()
    ]
    return (
        f"{names[0]} and {names[1]} have no network in common on any device; "
        f"launch both with the same --space, --devices and --seed{''.join(lost)}"
    )


def change(
    first: Measurement, second: Measurement, together: int, margin: float, factor: float = 1.0
) -> Change:
    """One of `together` comparisons that are made at once."""
    middle = math.log(second.latency_s / (first.latency_s * factor))
    half = math.hypot(_log_half_width(first), _log_half_width(second)) * _widened(together)
    low, high = middle - half, middle + half
    return Change(
        network=first.network,
        device=first.device,
        first=first,
        second=second,
        ratio=math.exp(middle),
        low=math.exp(low),
        high=math.exp(high) if high < _LARGEST_LOG else math.inf,
        verdict=_verdict(low, high, math.log1p(margin)),
        factor=factor,
    )


_LARGEST_LOG = 700.0


def _verdict(low: float, high: float, margin: float) -> str:
    if -margin <= low and high <= margin:
        return SAME
    if high < 0:
        return FASTER
    return SLOWER if low > 0 else UNDECIDED


def _log_half_width(measurement: Measurement) -> float:
    """Of the 95 % interval of ln latency."""
    return math.log1p(measurement.half_width)


def _widened(together: int) -> float:
    """By how much a 95 % interval is widened to be one of so many."""
    from scipy.special import ndtri

    return float(ndtri(1 - 0.025 / together) / ndtri(0.975))


def counts(changes: Sequence[Change]) -> dict[str, int]:
    """How many networks have each verdict."""
    found = Counter(one.verdict for one in changes)
    return {verdict: found[verdict] for verdict in (SAME, FASTER, SLOWER, UNDECIDED)}
