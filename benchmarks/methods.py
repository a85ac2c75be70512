"""The few-shot methods that benchmarks compare, each one line of METHODS.

`benchmarks.contract` says what a method is; the neural ones are in `benchmarks.neural`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks.contract import Case, FewShot, Method, of_predictor
from farm.core.errors import UsageError
from predictors import FloatArray
from predictors.encodings import ENCODINGS
from predictors.models.gp import GaussianProcess
from predictors.models.plain import LookupTable, NearestColumn, PlainModel, Rule
from predictors.models.regression import BoostedTrees, RandomForest, Ridge


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


NEURAL_SEEDS = 3
"""Draws of samples of methods that train for each, unless more are asked for."""

_ALL = tuple(ENCODINGS)
_MULTI = partial(neural, name="multi_predict")

METHODS: dict[str, Method] = {
    "flops": Method(flops),
    "nearest": Method(nearest),
    "lookup": Method(lookup),
    "ridge": Method(partial(regression, rule=lambda _: Ridge()), _ALL),
    "forest": Method(partial(regression, rule=RandomForest), _ALL, seeds=NEURAL_SEEDS),
    "xgboost": Method(partial(regression, rule=BoostedTrees), _ALL, seeds=NEURAL_SEEDS),
    "multi_predict": Method(_MULTI, ("vec", "zcpvec", "hwlvec"), seeds=NEURAL_SEEDS, neural=True),
    "multi_predict_sample": Method(
        partial(_MULTI, embedding="sample"),
        ("vec",),
        seeds=NEURAL_SEEDS,
        neural=True,
        describes=True,
    ),
    "multi_predict_index": Method(
        partial(_MULTI, embedding="index"), ("vec",), seeds=NEURAL_SEEDS, neural=True
    ),
    "help": Method(partial(neural, name="help"), seeds=NEURAL_SEEDS, neural=True, describes=True),
    "brp_nas": Method(partial(neural, name="brp_nas"), seeds=NEURAL_SEEDS, neural=True),
    "nasflat": Method(
        partial(neural, name="nasflat"), ("vec", "zcpvec"), seeds=NEURAL_SEEDS, neural=True
    ),
    "gp": Method(gp),
    "mixture": Method(mixture),
}
