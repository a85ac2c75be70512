"""What a predictor is to the study of hardware predictors: a way to learn from some networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, product
from typing import Protocol

import numpy as np

from benchmarks.contract import Case
from benchmarks.neural import EDGES
from predictors import FloatArray, IntArray
from predictors.encodings.graph import OperationGraph

Predict = Callable[[IntArray], FloatArray]
"""Rows of networks (M,) -> what is believed of their latencies, (M,) seconds."""


@dataclass(frozen=True, eq=False)
class Setting:
    """All networks of NAS-Bench-201, as a predictor may see them. case: also the other devices."""

    case: Case

    @property
    def one_hot(self) -> FloatArray:
        """(N, 30), the operation of each edge."""
        return self.case.table.vec

    @cached_property
    def graph(self) -> OperationGraph:
        return OperationGraph.of(self.one_hot, EDGES["nb201"])

    @cached_property
    def paths(self) -> FloatArray:
        """(N, 155), 1 where a path of such operations leads from the input to the output (White,
        Neiswanger & Savani, BANANAS, AAAI 2021, section 3)."""
        ops, edges, kinds = self.case.table.ops, EDGES["nb201"], len(self.case.table.op_names)
        found = []
        for length in (1, 2, 3):
            columns = np.zeros((len(ops), kinds**length))
            for route in product(range(len(edges)), repeat=length):
                if _leads(route, edges):
                    codes = ops[:, route] @ kinds ** np.arange(length)
                    columns[np.arange(len(ops)), codes] = 1
            found.append(columns)
        return np.concatenate(found, axis=1)


def _leads(route: tuple[int, ...], edges: tuple[tuple[int, int], ...]) -> bool:
    """Whether edges follow one another from the input to the output."""
    joined = all(edges[a][1] == edges[b][0] for a, b in pairwise(route))
    return joined and edges[route[0]][0] == 0 and edges[route[-1]][1] == max(max(edges))


@dataclass(frozen=True, eq=False)
class Samples:
    """rows: (n,) networks; latency_s: (n,). seed: of whatever a predictor draws."""

    rows: IntArray
    latency_s: FloatArray
    seed: int


class Fit(Protocol):
    """Learns from samples. Equal input, equal output."""

    def __call__(self, setting: Setting, samples: Samples) -> Predict: ...


class Choose(Protocol):
    """Picks its own samples."""

    def __call__(self, setting: Setting, latency_s: FloatArray, rows: IntArray, n: int) -> IntArray:
        """(n,), of the networks `rows`, drawn in this order. latency_s: (N,), of which it looks at
        what it picked."""
        ...


@dataclass(frozen=True)
class Studied:
    """most: samples that it is given at most, where it takes too long with more. seeds: draws of
    samples at most, where it takes long with any. choose: its samples, where they are not random.
    """

    fit: Fit
    most: int = 15_000
    seeds: int | None = None
    choose: Choose | None = None


def scaled(samples: Samples) -> tuple[FloatArray, Callable[[FloatArray], FloatArray]]:
    """Latencies (n,) with mean 0 and deviation 1, and the way back to seconds."""
    mean, std = float(samples.latency_s.mean()), float(samples.latency_s.std()) or 1.0
    return (samples.latency_s - mean) / std, lambda z: mean + std * z
