"""The few-shot methods that benchmarks compare, each behind one small contract.

A method is told the references and the structure of all networks, then some samples of a target;
it answers with a score for every network, and with an interval where it has one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from benchmarks.published import Table
from predictors import FloatArray, IntArray, Observations, metrics
from predictors.encodings.analytic import VirtualDevices
from predictors.encodings.hwl import HardwareLatencies, References
from predictors.models.gp import GaussianProcess
from predictors.models.mixture_gp import MixtureGP


@dataclass(frozen=True, eq=False)
class Case:
    """What every method of a task may know: the table's structure, and the references' training
    rows. `table` also holds the test devices; methods see those as samples only."""

    table: Table
    references: References
    hwl: HardwareLatencies
    virtual: VirtualDevices
    mixture: MixtureGP

    @classmethod
    def of(cls, table: Table, references: References) -> Case:
        """Pretraining: fills in the references and scales everything on the training rows."""
        hwl = HardwareLatencies.of(references, table.structure)
        virtual = VirtualDevices.of(table.costs, table.cost_names, references.rows)
        mixture = MixtureGP.over(
            hwl.values, virtual.values, table.structure, references.rows, hwl.spread
        )
        return cls(table, references, hwl, virtual, mixture)


@dataclass(frozen=True, eq=False)
class Prediction:
    """score: (N,), ranks as the latency does. interval_s: low and high, (N,) seconds each, of 95 %.
    latency_s: (N,) seconds, where the method predicts them."""

    score: FloatArray
    latency_s: FloatArray | None = None
    interval_s: tuple[FloatArray, FloatArray] | None = None


class Method(Protocol):
    """Predicts all networks of a case on a target that was measured at some rows."""

    def __call__(self, case: Case, rows: IntArray, latency_s: FloatArray) -> Prediction:
        """rows: (n,), latency_s: (n,) seconds."""
        ...


def flops(case: Case, rows: IntArray, latency_s: FloatArray) -> Prediction:
    """Multiply-accumulates; looks at no sample."""
    del rows, latency_s
    if "macs" not in case.table.cost_names:
        return Prediction(np.zeros(len(case.table.structure)))
    return Prediction(case.table.costs[:, case.table.cost_names.index("macs")])


def nearest(case: Case, rows: IntArray, latency_s: FloatArray) -> Prediction:
    """The reference that ranks the samples best, with its whole table where it was published."""
    known = np.stack([case.table.column(d) for d in case.references.devices], axis=1)
    ranks = [metrics.spearman(column[rows], latency_s) for column in known.T]
    best = int(np.argmax([-1.0 if rho is None else rho for rho in ranks]))
    return Prediction(known[:, best])


def ridge(case: Case, rows: IntArray, latency_s: FloatArray, encoding: str = "hwl") -> Prediction:
    """Ridge regression of log-latency on an encoding, its penalty by leave-one-out error."""
    x = ENCODINGS[encoding](case)
    x = (x - x.mean(0)) / np.where(x.std(0) > 0, x.std(0), 1) / np.sqrt(x.shape[1])
    y = np.log(latency_s)
    kernel, centred = x[rows] @ x[rows].T, y - y.mean()
    solved = []
    for penalty in np.logspace(-4, 2, 13):
        inverse = np.linalg.inv(kernel + penalty * np.eye(len(rows)))
        apart = inverse @ centred / np.diag(inverse)
        solved.append((float(apart @ apart), inverse @ centred))
    weights = min(solved, key=lambda pair: pair[0])[1]
    score = x @ (x[rows].T @ weights) + y.mean()
    return Prediction(score, np.exp(score))


def gp(case: Case, rows: IntArray, latency_s: FloatArray) -> Prediction:
    """The Gaussian process on structure that a campaign starts with; knows no reference."""
    features = case.table.structure
    model = GaussianProcess.over(features)
    return _predicted(model, features, rows, latency_s)


def mixture(case: Case, rows: IntArray, latency_s: FloatArray) -> Prediction:
    """Our mixture of Gaussian processes."""
    return _predicted(case.mixture, case.mixture.features, rows, latency_s)


def _predicted(
    model: GaussianProcess | MixtureGP, features: FloatArray, rows: IntArray, latency_s: FloatArray
) -> Prediction:
    device = np.zeros(len(rows), np.intp)
    seen = Observations(features[rows], device, latency_s, ("target",))
    posterior = model.fit(seen).posterior(features, "target")
    return Prediction(posterior.mean, posterior.latency_s, posterior.interval_s())


ENCODINGS: dict[str, Callable[[Case], FloatArray]] = {
    "vec": lambda case: case.table.vec,
    "hwl": lambda case: case.hwl.values,
    "analytic": lambda case: case.virtual.values,
    "hwlvec": lambda case: np.column_stack([case.hwl.values, case.table.vec]),
}

METHODS: dict[str, Method] = {
    "flops": flops,
    "nearest": nearest,
    "ridge": ridge,
    "gp": gp,
    "mixture": mixture,
}
"""By name; `ridge` is the one that `--encoding` is for."""
