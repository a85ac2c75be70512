"""What a few-shot method is to the benchmarks: a small contract that all of them are behind.

A method is prepared once for a task: it is told the references and the structure of all networks,
and may train on those. Then it is given samples of a target, again and again, and answers with a
score for every network, and with an interval where it has one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np

from benchmarks.published import Table
from farm.core.errors import UsageError
from predictors import FloatArray, IntArray, Observations, Predictor
from predictors.encodings import encode, zcp
from predictors.encodings.analytic import AnalyticColumns
from predictors.encodings.hwl import HardwareLatencies, References
from predictors.encodings.normalisation import TrainingRows
from predictors.models.devices import TrainingDevices
from predictors.models.embedding_networks import embedding_positions
from predictors.models.mixture_gp import MixtureGP

TRAININGS = ("minutes", "published")
"""How long neural methods train: cut to minutes, or as their papers say."""

DESCRIBING = 10
"""Networks that describe a device, in HELP and in Multi-Predict's Sample."""


@dataclass(frozen=True, eq=False)
class Case:
    """What every method of a task may know: the table's structure, and the references' training
    rows. `table` also holds the test devices; methods see those as samples only.

    seed: drew the training networks; what trains on them draws by it, too. training: how long
    neural methods train, one of `TRAININGS`.
    """

    table: Table
    references: References
    hwl: HardwareLatencies
    analytic: AnalyticColumns
    mixture: MixtureGP
    seed: int = 0
    training: str = TRAININGS[0]

    @classmethod
    def of(
        cls,
        table: Table,
        references: References,
        seed: int = 0,
        training: str = TRAININGS[0],
    ) -> Case:
        """Pretraining: fills in the references and scales everything on the training rows."""
        hwl = HardwareLatencies.of(references, table.structure)
        analytic = AnalyticColumns.of(table.costs, table.cost_names, references.rows)
        mixture = MixtureGP.over(
            hwl.values,
            np.column_stack([analytic.values, table.parts]),
            table.structure,
            references.rows,
            hwl.spread,
            analytic.spread,
        )
        return cls(table, references, hwl, analytic, mixture, seed, training)

    def encoding(self, name: str) -> FloatArray:
        """(N, F), one of `predictors.encodings.ENCODINGS`, standardised on the training rows.

        Raises UsageError for one that needs what the table does not have.
        """
        return encode(name, self._part, self.references.rows)

    @cached_property
    def describing(self) -> IntArray:
        """(A,), the networks whose latencies describe a device: those that the table names, if all
        references were measured there, else DESCRIBING training networks of all latencies."""
        named = self.table.describing
        if len(named) and np.isfinite(self.references.latency_s[named]).all():
            return named
        training = TrainingDevices.of(self.table.vec, self.references)
        return training.rows[embedding_positions(training, DESCRIBING)]

    @property
    def described(self) -> References:
        """The references with the describing networks among what they were measured on."""
        rows = self.references.rows
        more = np.setdiff1d(self.describing, rows.indices)
        held_out = np.setdiff1d(rows.held_out, self.describing)
        return replace(
            self.references, rows=TrainingRows(np.concatenate([rows.indices, more]), held_out)
        )

    def _part(self, name: str) -> FloatArray:
        if name == "zcp":
            return self._zcp
        parts = {"vec": self.table.vec, "hwl": self.hwl.values, "analytic": self.analytic.values}
        if not parts[name].shape[1]:
            raise UsageError(f"the table {self.table.name!r} has no {name} columns to encode by")
        return parts[name]

    @cached_property
    def _zcp(self) -> FloatArray:
        if not self.table.zcp_names:
            raise UsageError(
                f"the table {self.table.name!r} has no zero-cost proxies: give it `zcp` and "
                f"`zcp_names`, or a file zcp_{self.table.name}.npz beside it"
            )
        return zcp.encoded(self.table.zcp, self.table.structure, self.references.rows)


@dataclass(frozen=True, eq=False)
class Prediction:
    """score: (N,), ranks as the latency does. interval_s: low and high, (N,) seconds each, of 95 %.
    latency_s: (N,) seconds, where the method predicts them."""

    score: FloatArray
    latency_s: FloatArray | None = None
    interval_s: tuple[FloatArray, FloatArray] | None = None


class FewShot(Protocol):
    """A prepared method: predicts all networks of its case on a target with some samples."""

    def __call__(self, rows: IntArray, latency_s: FloatArray, seed: int) -> Prediction:
        """rows: (n,) networks, latency_s: (n,) seconds. seed: of whatever it draws."""
        ...


@dataclass(frozen=True)
class Method:
    """prepare: (case, encoding) -> the method, pretrained.

    encodings: which ones it can be given, the first one where nothing is said; empty for a method
    that has its own. seeds: so many draws of samples unless the user asks for more, where each
    takes a training. describes: a target's first samples are the networks that describe it. neural:
    it trains for as long as one of TRAININGS says.
    """

    prepare: Callable[[Case, str], FewShot]
    encodings: tuple[str, ...] = ()
    seeds: int | None = None
    describes: bool = False
    neural: bool = False


def of_predictor(predictor: Predictor, features: FloatArray) -> FewShot:
    """Any model behind the protocol of `predictors.Predictor`. features: (N, F), as it wants."""

    def predict(rows: IntArray, latency_s: FloatArray, seed: int) -> Prediction:
        del seed
        seen = Observations.of_one("target", features[rows], latency_s)
        posterior = predictor.fit(seen).posterior(features, "target")
        return Prediction(posterior.mean, posterior.latency_s, posterior.interval_s())

    return predict
