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

from predictors import FloatArray
from predictors.encodings.hwl import clipped, root
from predictors.encodings.normalisation import Standardisation, TrainingRows

MIXED = ("macs", "kernels", "traffic_bytes")
"""Costs that devices are bound by together: arithmetic, launches, memory."""


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

        Raises ValueError for a cost that is negative or not finite.
        """
        if not (np.isfinite(costs).all() and (costs >= 0).all()):
            raise ValueError("analytic costs must be finite and not negative; drop such columns")
        means = costs[rows.indices].mean(0)
        vary = [i for i in range(costs.shape[1]) if np.ptp(costs[rows.indices, i]) > 0]
        if not vary:
            return cls((), np.empty((len(costs), 0)), np.empty(0))
        relative = costs[:, vary] / means[vary]
        kept = [names[i] for i in vary]
        bound = [k for k, name in enumerate(kept) if name in MIXED]
        pairs = list(combinations(bound, 2))
        mixed = [relative[:, i] + relative[:, j] for i, j in pairs]
        fitted = root(np.column_stack([relative, *mixed]))
        scale = Standardisation.fit(fitted, rows)
        mixed_names = [f"{kept[i]}+{kept[j]}" for i, j in pairs]
        return cls((*kept, *mixed_names), clipped(scale.apply(fitted)), scale.scale / scale.mean)
