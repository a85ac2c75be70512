"""Did latencies change between two campaigns? Each network on each device gets a verdict."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from farm.errors import UsageError
from farm.store import Store
from farm.types import Measurement, Network

SAME, FASTER, SLOWER, UNDECIDED = "same", "faster", "slower", "undecided"
MARGIN = 0.02
"""Relative difference that does not matter."""


@dataclass(frozen=True)
class Change:
    """A network on a device in two campaigns.

    ratio: the second latency over the first; low, high: its interval. All intervals of one
    comparison hold together with 95 % (Bonferroni), so that a thousand networks that did not
    change raise no alarm.
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

    def to_json(self) -> dict[str, Any]:
        return {
            "network": self.network.id,
            "device": self.device,
            "first_s": self.first.latency_s,
            "second_s": self.second.latency_s,
            "ratio": self.ratio,
            "low": self.low,
            "high": self.high if math.isfinite(self.high) else None,
            "verdict": self.verdict,
            "same_fingerprint": self.first.fingerprint == self.second.fingerprint,
        }


def compare(store: Store, first: str, second: str, margin: float = MARGIN) -> list[Change]:
    """All networks that both campaigns measured on a device of the same name, in order.

    margin: see `MARGIN`. Raises UnknownName for a campaign that is not there, UsageError for a
    margin that is none and where the campaigns have nothing in common.
    """
    if not 0 < margin < 1:
        raise UsageError(f"--margin must lie between 0 and 1, got {margin}; 0.02 is 2 %")
    names = [store.campaign(name).id for name in (first, second)]
    before, after = (
        {(m.network, m.device): m for m in store.measurements(campaign=name)} for name in names
    )
    both = [key for key in before if key in after]
    if not both:
        raise UsageError(
            f"{names[0]} and {names[1]} have no network in common on any device; "
            "launch both with the same --space, --devices and --seed"
        )
    return [change(before[key], after[key], len(both), margin) for key in both]


def change(first: Measurement, second: Measurement, together: int, margin: float) -> Change:
    """One of `together` comparisons that are made at once."""
    middle = math.log(second.latency_s / first.latency_s)
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
