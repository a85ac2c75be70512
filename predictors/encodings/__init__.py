"""Encodings: networks as rows of numbers, with the normalisation that they were fitted with.

Multi-Predict (arXiv 2306.02459, section 3.2) describes a network by its operations (Vec), by
zero-cost proxies (ZCP), by its latencies on known devices (HWL), and by concatenations of these;
analytic columns are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from farm.core.errors import UnknownName
from predictors import FloatArray
from predictors.encodings.normalisation import Standardisation, TrainingRows

ENCODINGS: Mapping[str, tuple[str, ...]] = {
    "hwl": ("hwl",),
    "vec": ("vec",),
    "zcp": ("zcp",),
    "analytic": ("analytic",),
    "hwlvec": ("hwl", "vec"),
    "zcpvec": ("zcp", "vec"),
}
"""The parts of each encoding."""


def encode(name: str, part: Callable[[str], FloatArray], rows: TrainingRows) -> FloatArray:
    """The encoding `name` of N networks: its parts beside each other, each standardised on `rows`.

    part: the name of a part -> (N, F), raw; only those that are needed are asked for.
    HWL has a normalisation of its own and is taken as it is, to the last digit. Of the others,
    columns that do not vary on `rows` are left out. Raises UnknownName.
    """
    if name not in ENCODINGS:
        raise UnknownName("encoding", name, ENCODINGS)
    return np.concatenate([_part(p, part(p), rows) for p in ENCODINGS[name]], axis=1)


def _part(name: str, values: FloatArray, rows: TrainingRows) -> FloatArray:
    return values if name == "hwl" else _varying(values, rows)


def _varying(values: FloatArray, rows: TrainingRows) -> FloatArray:
    """(N, F) -> (N, V), the columns that vary."""
    scaled = Standardisation.fit(values, rows).apply(values)
    return np.asarray(scaled[:, np.ptp(scaled[rows.indices], axis=0) > 0])
