"""A device embedded by its latencies on a few fixed networks, the embedding networks.

HELP's hardware embedding (Lee et al., NeurIPS 2021, section 3), and Multi-Predict's Sample
(arXiv 2306.02459, section 3.1): ten networks, measured on every device.
"""

from __future__ import annotations

import numpy as np

from predictors import FloatArray, IntArray
from predictors.models.devices import TrainingDevices


def embedding_positions(
    training: TrainingDevices, count: int, networks: IntArray | None = None
) -> IntArray:
    """(A,), positions among the training networks that were measured on every training device."""
    whole = np.flatnonzero(np.isfinite(training.values).all(1))
    if networks is not None:
        here = {int(training.rows[position]): position for position in whole}
        if not set(map(int, networks)) <= set(here):
            raise ValueError(
                "every embedding network must be a training network measured on all references"
            )
        return np.array([here[int(row)] for row in networks], np.intp)
    if not len(whole):
        raise ValueError("a Sample embedding needs networks measured on all references, got none")
    order = whole[np.argsort(training.values[whole].mean(1), kind="stable")]
    return np.asarray(order[np.linspace(0, len(order) - 1, count).round().astype(np.intp)])


def embedding_values(
    networks: FloatArray, known: FloatArray, x: FloatArray, values: FloatArray
) -> FloatArray:
    """(A,), normalised latencies of the networks (A, F) on a target: as measured, else `known` (A,)
    of a similar device, on whose scale the samples `x` (n, F) have `values` (n,)."""
    found = known.copy()
    for i, network in enumerate(networks):
        same = (x == network).all(1)
        if same.any():
            found[i] = values[same].mean()
    return normalised(found)


def normalised(latencies: FloatArray) -> FloatArray:
    """Scaled to 0 and 1 along the last axis, as HELP's hardware embeddings are."""
    low = latencies.min(-1, keepdims=True)
    span = np.ptp(latencies, axis=-1, keepdims=True)
    return np.asarray((latencies - low) / np.where(span > 0, span, 1.0))
