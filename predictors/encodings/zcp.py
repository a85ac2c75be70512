"""ZCP: a network as its zero-cost proxies (Multi-Predict, section 3.2 and Table 6)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from predictors import FloatArray
from predictors.encodings.hwl import clipped
from predictors.encodings.normalisation import Standardisation, TrainingRows
from predictors.models.surrogate import predict_columns

NAMES = (
    "fisher",
    "flops",
    "grad_norm",
    "grasp",
    "l2_norm",
    "jacov",
    "nwot",
    "params",
    "plain",
    "snip",
    "synflow",
    "zen",
)
"""The proxies of Table 6."""

PASS = 1
"""The version of `zcp_pass`, and of how modules and inputs are drawn for it. Whoever changes what
it computes takes it up by one: proxies are stored with it."""


def encoded(values: FloatArray, structure: FloatArray, rows: TrainingRows) -> FloatArray:
    """Proxies (N, Z), NaN where unknown -> (N, Z), standardised on the rows that are known.

    Proxies range over many decades and both signs, so they are compressed by a logarithm. What is
    not known is predicted from the structure (N, S), as the latencies of references are.
    rows: the known ones among these are fitted on; where there are none, every known row is.
    """
    compressed = np.arcsinh(values / _unit(values))
    known = np.flatnonzero(np.isfinite(compressed).all(1))
    if len(known) == len(values):
        scaling = Standardisation.fit(compressed, rows)
        return clipped(scaling.apply(compressed))
    scaling = Standardisation.fit(compressed, TrainingRows.of(known))
    seen = clipped(scaling.apply(compressed[known]))
    return predict_columns(structure, known, seen)


def _unit(values: FloatArray) -> FloatArray:
    """(Z,), a value below which a proxy counts as small: the tenth part of its median size."""
    sizes = np.nanmedian(np.abs(values), axis=0) / 10
    return np.where(sizes > 0, sizes, 1.0)


def masked(values: FloatArray) -> FloatArray:
    """Proxies (N, Z), NaN where missing -> (N, 2 Z): standardised as in `encoded`, and a mask.

    For tables in which single proxies are missing. A missing one is 0, the mean of its column, and
    -1 in the mask, which is 0 elsewhere. A column is scaled by its own known entries alone, so
    that it is alike in size in every search space.
    """
    known = np.isfinite(values)
    columns = [_standardised(column, here) for column, here in zip(values.T, known.T, strict=True)]
    return np.column_stack([*columns, known.astype(np.float64) - 1])


def _standardised(column: FloatArray, known: NDArray[np.bool_]) -> FloatArray:
    """(N,), compressed and standardised where known, 0 elsewhere."""
    found = np.zeros(len(column))
    if known.any():
        some = column[known][:, None]
        compressed = np.arcsinh(some / _unit(some))
        scaling = Standardisation.fit(compressed, TrainingRows.every(compressed))
        found[known] = clipped(scaling.apply(compressed))[:, 0]
    return found
