"""The control chart of a device: it tells drift by the latencies of control networks. Pure
functions.

They are measured among the other networks. Whether older results hold after the device's
fingerprint changed is for `farm.devices.equivalence` to say.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from farm.measurement.record import Series

Latencies = Mapping[Series, float]
"""A round of control networks, in seconds."""

LEVEL_ROUNDS = 5
"""Rounds, the first ones, whose median is a control network's level."""

KEPT_ROUNDS = 64
"""The last rounds that a chart needs: an average over older ones weighs 1e-8 of them."""

TOLERATED = 0.01
"""A lasting shift up to this, relative, is no drift: nobody asks for narrower intervals. On shared
hosts more is ordinary, see `farm.inventory.config.ControlPolicy`."""

_WEIGHT, _WIDTH = 0.25, 3.0
"""Of a chart that calls a false alarm every 500 rounds, and a shift of one sigma after 11: Lucas
and Saccucci, Exponentially Weighted Moving Average Control Schemes, Technometrics 32 (1990)."""

_FIRST_SIGMA, _FIRST_WEIGHT = 0.01, 3.0
"""What a device's control networks are taken to scatter by before it has shown it, and how many
rounds of its own that counts as."""

_LEAST_SIGMA = 0.003
"""Rounds that agree better agree by chance."""


@dataclass(frozen=True)
class Point:
    """A round on the chart.

    shift: mean log-ratio of the control networks to their levels; None for a round that begins
    levels. ewma: its exponentially weighted moving average; limit: how far from 0 that may be.
    """

    shift: float | None
    ewma: float
    limit: float

    @property
    def out(self) -> bool:
        return abs(self.ewma) > self.limit


@dataclass(frozen=True)
class Chart:
    """The control chart of a device, a point for each round. sigma: of `shift`, as far as known."""

    points: tuple[Point, ...]
    sigma: float

    @property
    def out(self) -> bool:
        """Whether the device is out of control now."""
        return bool(self.points) and self.points[-1].out

    @property
    def last_good(self) -> int:
        """The last round before now that was in the inner half of its limits or beyond the other
        one: what was measured after it may be off. Round 0 defines the level and is good."""
        sign = math.copysign(1.0, self.points[-1].ewma)
        good = (i for i, p in enumerate(self.points[:-1]) if sign * p.ewma <= p.limit / 2)
        return max(good, default=0)

    @property
    def shift(self) -> float:
        """How far the last round is off the level, as a logarithm."""
        return self.points[-1].shift or 0.0


def control_chart(
    rounds: Sequence[Latencies],
    tolerated: float = TOLERATED,
    earlier: Sequence[Latencies] = (),
) -> Chart:
    """The EWMA control chart of a device's rounds (Roberts, Control Chart Tests Based on Geometric
    Moving Averages, Technometrics 1 (1959)).

    Each round is judged by what was known before it: the levels are medians of the first rounds,
    and sigma comes from moving ranges, so that there is no trial period that nobody watches. The
    limits are at least what a lasting shift by `tolerated`, relative, leads to.

    earlier: rounds of the stretches before, which show what this one may scatter by.
    """
    points: list[Point] = []
    shifts: list[float] = []
    first_sigma = _scatter([*earlier, *rounds]) if earlier else _FIRST_SIGMA
    ewma, squares, count = 0.0, _FIRST_WEIGHT * first_sigma**2, _FIRST_WEIGHT
    for number, latencies in enumerate(rounds):
        shift = shift_of(latencies, rounds[:number])
        sigma = max(math.sqrt(squares / count), _LEAST_SIGMA)
        if shift is None:
            points.append(Point(None, ewma, math.inf))
            continue
        ewma += _WEIGHT * (shift - ewma)
        shifts.append(shift)
        points.append(Point(shift, ewma, _limit(len(shifts), sigma, tolerated)))
        if len(shifts) > 1:
            squares, count = squares + (shifts[-1] - shifts[-2]) ** 2 / 2, count + 1
    return Chart(tuple(points), max(math.sqrt(squares / count), _LEAST_SIGMA))


def _scatter(rounds: Sequence[Latencies]) -> float:
    """What rounds scatter by, a standard deviation of logarithms: by the median of their moving
    ranges, to which a shift adds one; `_FIRST_SIGMA` where they are too few or agree better."""
    shifts = (shift_of(now, [before]) for before, now in pairwise(rounds))
    ranges = [abs(shift) for shift in shifts if shift is not None]
    # The median of |x - y| is .954 sigma for normal x and y.
    return max(median(ranges) / 0.954, _FIRST_SIGMA) if len(ranges) > 2 else _FIRST_SIGMA


def shift_of(latencies: Latencies, before: Sequence[Latencies]) -> float | None:
    """Mean log-ratio of a round to the levels that earlier rounds define; None without a level."""
    ratios = []
    for series, latency_s in latencies.items():
        level_s = _level_s(series, before)
        if level_s is not None:
            ratios.append(math.log(latency_s / level_s))
    return sum(ratios) / len(ratios) if ratios else None


def _level_s(series: Series, rounds: Iterable[Latencies]) -> float | None:
    first = []
    for latencies in rounds:
        if series in latencies:
            first.append(latencies[series])
        if len(first) == LEVEL_ROUNDS:
            break
    return median(first) if first else None


def _limit(number: float, sigma: float, tolerated: float) -> float:
    """Of the moving average after `number` shifts."""
    left = float((1 - _WEIGHT) ** number)
    chance = _WIDTH * sigma * math.sqrt(_WEIGHT / (2 - _WEIGHT) * (1 - left**2))
    return max(chance, tolerated * (1.0 - left))
