"""The study's predictors that libraries have, a lookup table, and the farm's own.

All but the farm's see the operation of each edge, one-hot, and latencies scaled by their mean and
deviation. Settings are customary ones; what is chosen for a device is chosen on its samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.study_contract import Predict, Samples, Setting, Studied, scaled
from farm.core.extras import of_extra
from predictors import FloatArray, IntArray, Observations, Predictor
from predictors.models.mixture_gp import MixtureGP
from predictors.models.plain import LookupTable

CHOSEN_ON = 400
"""Samples that settings are chosen on, at most."""

INDUCING = 200
"""Networks that a sparse Gaussian process goes by."""

TREES, ROUNDS, RATE = 100, 400, 0.05


@dataclass(frozen=True, eq=False)
class Data:
    """x: (n, F), one-hot; y: (n,), scaled."""

    x: FloatArray
    y: FloatArray
    seed: int

    @property
    def some(self) -> tuple[FloatArray, FloatArray]:
        """What settings are chosen on."""
        return self.x[:CHOSEN_ON], self.y[:CHOSEN_ON]


@dataclass(frozen=True)
class Regression:
    """estimator: of scikit-learn's kind, not fitted yet."""

    estimator: Callable[[Data], Any]

    def __call__(self, setting: Setting, samples: Samples) -> Predict:
        y, seconds = scaled(samples)
        x = setting.one_hot[samples.rows]
        with of_extra("baselines"):
            fitted = self.estimator(Data(x, y, samples.seed)).fit(x, y)

        def predict(rows: IntArray) -> FloatArray:
            # In parts: a Gaussian process keeps what it computes for each pair.
            parts = np.array_split(setting.one_hot[rows], max(len(rows) // 2000, 1))
            return seconds(np.concatenate([fitted.predict(part) for part in parts]))

        return predict


def linear(data: Data) -> Any:
    del data
    from sklearn.linear_model import LinearRegression

    return LinearRegression()


def bayesian_linear(data: Data) -> Any:
    """MacKay, Bayesian Interpolation, Neural Computation 1992."""
    del data
    from sklearn.linear_model import BayesianRidge

    return BayesianRidge()


def ridge(data: Data) -> Any:
    """Its penalty by leave-one-out error."""
    del data
    from sklearn.linear_model import RidgeCV

    return RidgeCV(np.logspace(-4, 2, 13))


def svm(data: Data) -> Any:
    """With an RBF kernel; cost and width by cross-validation in three parts."""
    from sklearn.model_selection import GridSearchCV
    from sklearn.svm import SVR

    choices = {"C": [1.0, 10.0, 100.0], "gamma": [0.01, 0.03, 0.1]}
    search = GridSearchCV(
        SVR(epsilon=0.03), choices, cv=3, scoring="neg_mean_absolute_error", refit=False
    )
    search.fit(*data.some)
    return SVR(epsilon=0.03, **search.best_params_)


def forest(data: Data) -> Any:
    from sklearn.ensemble import RandomForestRegressor

    return RandomForestRegressor(TREES, max_features=1 / 3, random_state=data.seed)


def xgboost(data: Data) -> Any:
    from xgboost import XGBRegressor

    return XGBRegressor(
        n_estimators=ROUNDS, learning_rate=RATE, max_depth=5, n_jobs=1, random_state=data.seed
    )


def lightgbm(data: Data) -> Any:
    """Ke et al., LightGBM, NeurIPS 2017; leaves of three samples, as the fewest are eleven."""
    from lightgbm import LGBMRegressor

    return LGBMRegressor(
        n_estimators=ROUNDS,
        learning_rate=RATE,
        min_child_samples=3,
        n_jobs=1,
        random_state=data.seed,
        verbosity=-1,
    )


def ngboost(data: Data) -> Any:
    """Duan et al., NGBoost, ICML 2020."""
    from ngboost import NGBRegressor

    return NGBRegressor(
        n_estimators=ROUNDS // 2, learning_rate=RATE, random_state=data.seed, verbose=False
    )


def gp(data: Data) -> Any:
    """With an RBF kernel; its width, amplitude and noise by evidence."""
    from sklearn.gaussian_process import GaussianProcessRegressor

    return GaussianProcessRegressor(_kernel(data), optimizer=None)


def sparse_gp(data: Data) -> Any:
    """The same on INDUCING networks: the subset of regressors (Quinonero-Candela & Rasmussen, A
    Unifying View of Sparse Approximate Gaussian Process Regression, JMLR 2005, section 4)."""
    from sklearn.kernel_approximation import Nystroem
    from sklearn.linear_model import BayesianRidge
    from sklearn.pipeline import make_pipeline

    width = _kernel(data).get_params()["k1__k2__length_scale"]
    by = Nystroem(
        gamma=0.5 / width**2, n_components=min(INDUCING, len(data.x)), random_state=data.seed
    )
    return make_pipeline(by, BayesianRidge())


def _kernel(data: Data) -> Any:
    """Fitted to some of the samples."""
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

    kernel = ConstantKernel(1.0, (1e-2, 1e3)) * RBF(3.0, (0.3, 100.0))
    kernel += WhiteKernel(1e-2, (1e-6, 1.0))
    return GaussianProcessRegressor(kernel).fit(*data.some).kernel_


def lookup(setting: Setting, samples: Samples) -> Predict:
    """The sum of a time for each operation on each edge, found from whole networks."""
    fitted = LookupTable()(setting.one_hot[samples.rows], np.log(samples.latency_s))
    return lambda rows: np.exp(fitted(setting.one_hot[rows]))


def ours(setting: Setting, samples: Samples) -> Predict:
    """The farm's mixture of Gaussian processes; all other devices are references."""
    return _of_predictor(setting.case.mixture, setting.case.mixture.features, samples)


def ours_alone(setting: Setting, samples: Samples) -> Predict:
    """The same as it is where no other device is known: on what follows from a network's graph."""
    case = setting.case
    costs = np.column_stack([case.analytic.values, case.table.parts])
    none, spread = np.empty((len(costs), 0)), np.empty(0)
    rows = case.references.rows
    mixture = MixtureGP.over(none, costs, case.table.structure, rows, spread, case.analytic.spread)
    return _of_predictor(mixture, mixture.features, samples)


def _of_predictor(predictor: Predictor, features: FloatArray, samples: Samples) -> Predict:
    seen = Observations.of_one("new", features[samples.rows], samples.latency_s)
    fitted = predictor.fit(seen)
    return lambda rows: fitted.posterior(features[rows], "new").latency_s


LEARNT: dict[str, Studied] = {
    "linear": Studied(Regression(linear)),
    "bayesian_linear": Studied(Regression(bayesian_linear)),
    "ridge": Studied(Regression(ridge)),
    "svm": Studied(Regression(svm), 5353),
    "forest": Studied(Regression(forest)),
    "xgboost": Studied(Regression(xgboost)),
    "lightgbm": Studied(Regression(lightgbm)),
    "ngboost": Studied(Regression(ngboost), 1909, seeds=1),
    "gp": Studied(Regression(gp), 1909),
    "sparse_gp": Studied(Regression(sparse_gp)),
    "lookup": Studied(lookup),
    "ours": Studied(ours, 682),
    "ours_alone": Studied(ours_alone, 682),
}
