"""Whether older results hold on a device that changed, by its control networks. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

from farm.devices.control_chart import Latencies

REVISION_ROUNDS = 3
"""Rounds under a new fingerprint that decide on older results."""


SAME, ALIKE = 0.02, 0.01
"""Relative: within the first every control network must be for older results to hold, and within
the second around a common factor for them to be rebased by it."""


_CONFIDENCE = 0.95


_PRIOR_SIGMA, _PRIOR_WEIGHT = 0.005, 2.0


@dataclass(frozen=True)
class Decision:
    """decision: `same`, `rebased` or `invalidated`. factor: how many times as slow the device
    is."""

    decision: str
    factor: float
    reason: str


def decide(old: Sequence[Latencies], new: Sequence[Latencies]) -> Decision:
    """Whether results of an old revision hold in a new one, by the control networks measured in
    both.

    Two one-sided t tests for each control network (Schuirmann, J. Pharmacokinetics and
    Biopharmaceutics 15 (1987)) with a pooled variance. All must pass, which keeps the level of the
    whole at that of one (Berger, Technometrics 24 (1982)). What is not shown to hold is
    invalidated.
    """
    before, after = _logs(old), _logs(new)
    common = sorted(before.keys() & after.keys())
    if not common:
        return Decision("invalidated", 1.0, "no control network was measured before and after")
    moved = {name: fmean(after[name]) - fmean(before[name]) for name in common}
    margins = [_margin([before[name], after[name]], _pooled([before, after])) for name in common]
    change = fmean(moved.values())
    apart = max(abs(value) + m for value, m in zip(moved.values(), margins, strict=True))
    uneven = max(abs(v - change) + m for v, m in zip(moved.values(), margins, strict=True))
    told = ", ".join(f"{math.expm1(value):+.1%}" for value in moved.values())
    if apart <= math.log1p(SAME):
        return Decision("same", 1.0, f"control networks changed by {told}: within {SAME:.0%}")
    if uneven <= math.log1p(ALIKE):
        return Decision("rebased", math.exp(change), f"control networks changed alike, by {told}")
    return Decision(
        "invalidated", 1.0, f"control networks changed by {told}, not shown to be one factor"
    )


def _logs(rounds: Sequence[Latencies]) -> dict[str, list[float]]:
    """By network, however it was built: another build is a part of what changed."""
    logs: dict[str, list[float]] = {}
    for latencies in rounds:
        for (network, _), latency_s in latencies.items():
            logs.setdefault(network, []).append(math.log(latency_s))
    return logs


def _pooled(revisions: Sequence[Mapping[str, Sequence[float]]]) -> tuple[float, float]:
    """Sigma of a round of one control network, and its degrees of freedom: from what neighbouring
    rounds differ by, so that a slow drift within the old revision is no scatter."""
    squares, degrees = _PRIOR_WEIGHT * _PRIOR_SIGMA**2, _PRIOR_WEIGHT
    for logs in revisions:
        for values in logs.values():
            squares += sum((b - a) ** 2 / 2 for a, b in pairwise(values))
            degrees += len(values) - 1
    return math.sqrt(squares / degrees), degrees


def _margin(samples: Sequence[Sequence[float]], pooled: tuple[float, float]) -> float:
    """How far the true difference of the two means may be above the one seen."""
    from scipy.special import stdtrit

    sigma, degrees = pooled
    error = sigma * math.sqrt(sum(1 / len(values) for values in samples))
    return float(stdtrit(degrees, _CONFIDENCE)) * error
