"""How alike devices rank networks: which of them tell the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from farm.prediction.central import CentralPredictor
from farm.prediction.columns import Column
from farm.spaces.base import SearchSpace
from predictors import metrics

_FEWEST = 5
"""Networks that two devices must have in common."""

_MOST = 500
"""Networks in common that are looked at: more say the same."""


@dataclass(frozen=True)
class Correlations:
    """spearman: a row for each device, with its rank correlation to each; None where too few
    networks are known of both."""

    devices: tuple[str, ...]
    spearman: tuple[tuple[float | None, ...], ...]


def correlations(predictor: CentralPredictor, searched: SearchSpace) -> Correlations:
    """Of all devices that networks of a space were measured on, and of published tables."""
    columns = predictor.columns(searched.name)
    n = len(columns)
    half = {(i, j): _spearman(columns[i], columns[j]) for i in range(n) for j in range(i)}
    found = [[1.0 if i == j else half[max(i, j), min(i, j)] for j in range(n)] for i in range(n)]
    return Correlations(tuple(one.device for one in columns), tuple(map(tuple, found)))


def _spearman(a: Column, b: Column) -> float | None:
    known = dict(zip(b.networks, b.latency_s, strict=True))
    pairs = [
        (mine, known[network])
        for network, mine in zip(a.networks, a.latency_s, strict=True)
        if network in known
    ][-_MOST:]
    if len(pairs) < _FEWEST:
        return None
    return metrics.spearman(*np.array(pairs).T)
