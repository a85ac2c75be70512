"""How precisely a device measures the networks that it is to be learnt from.

A network that is known to 2 % tells nearly as much about the others as one that is known to 1 %,
and takes a fraction of the time, as long as the model knows the others less well than that. Where
building a network takes longer than measuring it, precision comes cheap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from farm.measurement.record import Measurement
from farm.measurement.spec import MeasureSpec
from predictors import FloatArray, metrics
from predictors.acquisition import Prior, reduction

COARSER = (0.02, 0.05)
"""Half-widths that are offered beside the device's own."""

SPREAD = 0.01
"""Relative, of a latency from session to session, on a device of which nothing is known."""


class Belief(Prior, Protocol):
    """Of a device. Its own `noise_variance` is of what no other network tells of a latency."""

    def variance_of(self, noise_std: float) -> float:
        """What noise of a measurement, in log-seconds, adds to that."""
        ...


@dataclass(frozen=True)
class Expense:
    """What measuring takes on a device.

    load_s: seconds of each session beside its warm-up and its blocks. share: of the seconds that
    a spec grants these, those that they take. build_s: CPU seconds until a network can be measured.
    spread: of a latency from session to session.
    """

    load_s: float = 0.0
    share: float = 1.0
    build_s: float = 0.0
    spread: float = SPREAD

    @classmethod
    def of(cls, measurements: Sequence[Measurement], build_s: float) -> Expense:
        """As it was, where enough was measured to tell. build_s: of a network, on average."""
        if len(measurements) < metrics.FEWEST:
            return cls(build_s=build_s)
        from scipy.optimize import nnls

        sessions = np.array([len(m.warmup_s) for m in measurements])
        granted_s = [float(m.spec.session_s(np.array(m.latency_s))) for m in measurements]
        device_s = np.array([m.device_s for m in measurements])
        each_s = np.column_stack([np.ones(len(sessions)), granted_s]) * sessions[:, None]
        (load_s, share), _ = nnls(each_s, device_s)
        if load_s + share == 0:
            return cls(build_s=build_s)  # it takes no time at all
        spreads = [m.spread for m in measurements if m.spread is not None]
        spread = float(np.median(spreads)) if len(spreads) >= metrics.FEWEST else SPREAD
        return cls(float(load_s), float(share), build_s, spread)

    def device_s(self, spec: MeasureSpec, latency_s: FloatArray) -> FloatArray:
        """(M,) expected device seconds of measuring networks that take so long."""
        session_s = self.load_s + self.share * spec.session_s(latency_s)
        return np.asarray(spec.sessions(self.spread) * session_s)

    def price_s(self, spec: MeasureSpec, latency_s: FloatArray) -> FloatArray:
        """(M,), the same with what building them takes."""
        return self.build_s + self.device_s(spec, latency_s)

    def noise_std(self, spec: MeasureSpec) -> float:
        """Expected of a measurement, in log-seconds."""
        return float(self.spread / np.sqrt(spec.sessions(self.spread)))


def most_telling(
    own: MeasureSpec, expense: Expense, belief: Belief, features: FloatArray, latency_s: FloatArray
) -> MeasureSpec:
    """The spec by which the variance of all networks sinks most for each device second, when one
    of them is measured: the device's own, or a coarser one.

    features: (M, F), latency_s: (M,) seconds, as expected: of some of the candidates.
    """
    coarser = [own.at_precision(width) for width in COARSER if width > own.half_width]
    worth = []
    for spec in (own, *coarser):
        noise = belief.noise_variance + belief.variance_of(expense.noise_std(spec))
        told = reduction(belief, features, noise)
        worth.append(float(np.median(told / expense.price_s(spec, latency_s))))
    return (own, *coarser)[int(np.argmax(worth))]
