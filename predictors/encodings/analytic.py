"""Analytic columns as analytic features: latencies that a network would have if one cost ruled.

A device bound by arithmetic has latencies that go with multiply-accumulates, one bound by launch
overhead with the number of kernels, one bound by memory with traffic; a real one is in between.
The columns are known for every network without measuring, so they stand beside the reference
devices, and help most where the references are unlike the target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from predictors import FloatArray, IntArray
from predictors.encodings.hwl import clipped, root
from predictors.encodings.normalisation import Standardisation, TrainingRows

MIXED = ("macs", "kernels", "traffic_bytes")
"""Costs that devices are bound by together: arithmetic, launches, memory."""


@dataclass(frozen=True, eq=False)
class AnalyticScale:
    """How costs (N, C) become analytic features (N, V), fitted on training rows.

    kept: (K,), the columns that vary. means: (K,). pairs: of those that are mixed, as positions in
    `kept`. scale: of the V features. names, spread: see `AnalyticColumns`.
    """

    names: tuple[str, ...]
    kept: IntArray
    means: FloatArray
    pairs: tuple[tuple[int, int], ...]
    scale: Standardisation

    @classmethod
    def fit(cls, costs: FloatArray, names: Sequence[str], rows: TrainingRows) -> AnalyticScale:
        """Raises ValueError for a cost that is negative or not finite."""
        if not (np.isfinite(costs).all() and (costs >= 0).all()):
            raise ValueError("analytic costs must be finite and not negative; drop such columns")
        known = costs[rows.indices]
        kept = np.flatnonzero(np.ptp(known, axis=0) > 0)
        own = [names[int(i)] for i in kept]
        bound = [k for k, name in enumerate(own) if name in MIXED]
        pairs = tuple(combinations(bound, 2))
        means = known.mean(0)[kept]
        roots = _roots(costs[:, kept] / means, pairs)
        mixed = [f"{own[i]}+{own[j]}" for i, j in pairs]
        return cls((*own, *mixed), kept, means, pairs, Standardisation.fit(roots, rows))

    def apply(self, costs: FloatArray) -> FloatArray:
        """(N, C) -> (N, V)."""
        return clipped(self.scale.apply(_roots(costs[:, self.kept] / self.means, self.pairs)))

    @property
    def spread(self) -> FloatArray:
        return np.asarray(self.scale.scale / self.scale.mean)


def _roots(relative: FloatArray, pairs: Sequence[tuple[int, int]]) -> FloatArray:
    """(N, K) costs relative to their means -> (N, V), with the mixtures."""
    return root(np.column_stack([relative, *(relative[:, i] + relative[:, j] for i, j in pairs)]))


@dataclass(frozen=True, eq=False)
class AnalyticColumns:
    """Analytic features (N, V), normalised as the reference devices are.

    names: of the V columns; `a+b` is the even mixture of two of the costs in
    MIXED, each relative to its mean.
    spread: (V,), standard deviation over the training rows of the square root of the cost relative
    to its mean: how differently networks run where nothing but that costs.
    """

    names: tuple[str, ...]
    values: FloatArray
    spread: FloatArray

    @classmethod
    def of(cls, costs: FloatArray, names: Sequence[str], rows: TrainingRows) -> AnalyticColumns:
        """costs: (N, C), not negative, in any unit; a constant column is left out.

        Raises ValueError as `AnalyticScale.fit`.
        """
        scale = AnalyticScale.fit(costs, names, rows)
        return cls(scale.names, scale.apply(costs), scale.spread)
