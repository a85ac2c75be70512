"""The few-shot methods that benchmarks compare, each behind one small contract.

A method is prepared once for a task: it is told the references and the structure of all networks,
and may train on those. Then it is given samples of a target, again and again, and answers with a
score for every network, and with an interval where it has one. A method is one line of METHODS.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Protocol

import numpy as np

from benchmarks.published import Table
from farm.core.errors import UsageError
from predictors import FloatArray, IntArray, Observations, Predictor
from predictors.encodings import ENCODINGS, encode, zcp
from predictors.encodings.analytic import AnalyticColumns
from predictors.encodings.hwl import HardwareLatencies, References
from predictors.models.gp import GaussianProcess
from predictors.models.mixture_gp import MixtureGP
from predictors.models.plain import LookupTable, NearestColumn, PlainModel, Rule
from predictors.models.regression import BoostedTrees, RandomForest, Ridge


@dataclass(frozen=True, eq=False)
class Case:
    """What every method of a task may know: the table's structure, and the references' training
    rows. `table` also holds the test devices; methods see those as samples only.

    seed: drew the training networks; what trains on them draws by it, too.
    """

    table: Table
    references: References
    hwl: HardwareLatencies
    analytic: AnalyticColumns
    mixture: MixtureGP
    seed: int = 0

    @classmethod
    def of(cls, table: Table, references: References, seed: int = 0) -> Case:
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
        return cls(table, references, hwl, analytic, mixture, seed)

    def encoding(self, name: str) -> FloatArray:
        """(N, F), one of `predictors.encodings.ENCODINGS`, standardised on the training rows.

        Raises UsageError for one that needs what the table does not have.
        """
        return encode(name, self._part, self.references.rows)

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
    takes a training. tasks: the ones that it is run on among all methods, where that takes long;
    all where none is named.
    """

    prepare: Callable[[Case, str], FewShot]
    encodings: tuple[str, ...] = ()
    seeds: int | None = None
    tasks: tuple[str, ...] = ()


def of_predictor(predictor: Predictor, features: FloatArray) -> FewShot:
    """Any model behind the protocol of `predictors.Predictor`. features: (N, F), as it wants."""

    def predict(rows: IntArray, latency_s: FloatArray, seed: int) -> Prediction:
        del seed
        seen = Observations.of_one("target", features[rows], latency_s)
        posterior = predictor.fit(seen).posterior(features, "target")
        return Prediction(posterior.mean, posterior.latency_s, posterior.interval_s())

    return predict


def mixture(case: Case, encoding: str) -> FewShot:
    """Our mixture of Gaussian processes."""
    del encoding
    return of_predictor(case.mixture, case.mixture.features)


def gp(case: Case, encoding: str) -> FewShot:
    """The Gaussian process on structure that a campaign starts with; knows no reference."""
    del encoding
    return of_predictor(GaussianProcess.over(case.table.structure), case.table.structure)


def flops(case: Case, encoding: str) -> FewShot:
    """Multiply-accumulates times a constant."""
    del encoding
    table = case.table
    name = next((n for n in table.cost_names if n.lower() in ("macs", "flops")), None)
    if name is None:
        raise UsageError(f"the table {table.name!r} has no `features` column `macs` or `flops`")
    return _nearest(table.costs[:, [table.cost_names.index(name)]], table.vec)


def nearest(case: Case, encoding: str) -> FewShot:
    """The nearest reference, with its whole table where it was published."""
    del encoding
    known = np.stack([case.table.column(d) for d in case.references.devices], axis=1)
    filled = np.where(np.isnan(known), case.hwl.latency_s, known)
    return _nearest(filled, case.table.vec)


def _nearest(columns: FloatArray, vec: FloatArray) -> FewShot:
    features = np.column_stack([columns, vec])
    return of_predictor(PlainModel.over(NearestColumn(columns.shape[1]), features), features)


def lookup(case: Case, encoding: str) -> FewShot:
    """A lookup table of layers."""
    del encoding
    return of_predictor(PlainModel.over(LookupTable(), case.table.vec), case.table.vec)


def regression(case: Case, encoding: str, rule: Callable[[int], Rule]) -> FewShot:
    """A rule on an encoding."""
    features = case.encoding(encoding)
    return of_predictor(PlainModel.over(rule(case.seed), features), features)


def neural(case: Case, encoding: str, name: str, **settings: str) -> FewShot:
    """A published neural predictor; torch is loaded for those alone."""
    from benchmarks import neural as published

    prepare: Callable[..., FewShot] = getattr(published, name)
    return prepare(case, encoding, **settings)


_ALL = tuple(ENCODINGS)
_MULTI = partial(neural, name="multi_predict")

DEFAULT = ("ND", "FD")
"""HELP's tasks, which all papers have."""

METHODS: dict[str, Method] = {
    "flops": Method(flops),
    "nearest": Method(nearest),
    "lookup": Method(lookup),
    "ridge": Method(partial(regression, rule=lambda _: Ridge()), _ALL),
    "forest": Method(partial(regression, rule=RandomForest), _ALL, seeds=1),
    "xgboost": Method(partial(regression, rule=BoostedTrees), _ALL, seeds=1),
    "multi_predict": Method(_MULTI, ("vec", "zcpvec", "hwlvec"), seeds=5, tasks=DEFAULT),
    "multi_predict_sample": Method(
        partial(_MULTI, embedding="sample"), ("vec",), seeds=5, tasks=DEFAULT
    ),
    "multi_predict_index": Method(
        partial(_MULTI, embedding="index"), ("vec",), seeds=5, tasks=DEFAULT
    ),
    "help": Method(partial(neural, name="help"), seeds=1, tasks=DEFAULT),
    "brp_nas": Method(partial(neural, name="brp_nas"), seeds=1, tasks=DEFAULT),
    "nasflat": Method(partial(neural, name="nasflat"), ("vec", "zcpvec"), seeds=1, tasks=DEFAULT),
    "gp": Method(gp),
    "mixture": Method(mixture),
}
