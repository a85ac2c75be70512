"""Plain models behind the protocol of `predictors.Predictor`: what any better one must beat.

Each is a rule: a function that is fitted to a device's log-latencies, one device apart from the
other. Rules know no uncertainty of their own, so all take theirs from one place: the scale of the
errors that they make on samples left out, and the distance from the samples, as a Gaussian process
has it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from scipy.optimize import nnls

from predictors import FloatArray, Observations, Posterior, metrics
from predictors.encodings.normalisation import Standardisation, TrainingRows
from predictors.models import unseen
from predictors.models.evidence import Conditioned
from predictors.models.kernels import rbf

FOLDS = 3
"""Parts that the samples are left out in, to see how wrong a rule is."""

EXPECTED_ERROR = 0.3
EXPECTED_COUNT = 2.0
"""Log-seconds: a rule's error before any was seen, and how many errors that counts for."""

NOISE_SHARE = 0.2
"""Of the squared error: what stays where a network was measured."""

Fitted = Callable[[FloatArray], FloatArray]
"""Features (M, F) -> log-latencies (M,), in seconds."""


class Rule(Protocol):
    """What is fitted to one device."""

    def __call__(self, x: FloatArray, log_s: FloatArray) -> Fitted:
        """x: (n, F) raw features, log_s: (n,) natural-log seconds, n at least 1. Equal input,
        equal output; the order of samples says nothing."""
        ...


@dataclass(frozen=True, eq=False)
class PlainModel:
    """A rule over a pool of networks. scaling: of the pool's columns, for distances."""

    rule: Rule
    features: FloatArray
    scaling: Standardisation

    @classmethod
    def over(cls, rule: Rule, pool: FloatArray) -> PlainModel:
        """pool: (N, F), the features of all candidates. Raises ValueError if not finite."""
        return cls(rule, pool, Standardisation.fit(pool, TrainingRows.every(pool)))

    def fit(self, observations: Observations) -> FittedPlain:
        """One fit for each device, and FOLDS more to see how wrong the rule is."""
        devices = []
        for d in range(len(observations.devices)):
            own = observations.device == d
            devices.append(self._device(observations.features[own], observations.latency_s[own]))
        return FittedPlain(self, observations, tuple(devices))

    def _device(self, x: FloatArray, latency_s: FloatArray) -> DeviceFit:
        order = np.lexsort((latency_s, *x.T[::-1]))
        x, log_s = x[order], np.log(latency_s[order])
        near = self.scaling.apply(x)
        inner = Conditioned.on(rbf(near, near) + NOISE_SHARE * np.eye(len(x)), log_s[:, None])
        if not len(x):
            return DeviceFit(
                lambda new: np.full(len(new), unseen.LOG_S), EXPECTED_ERROR, near, inner
            )
        return DeviceFit(self.rule(x, log_s), self._error(x, log_s), near, inner)

    def _error(self, x: FloatArray, log_s: FloatArray) -> float:
        """Log-seconds: the root mean square error on samples left out, shrunk to what is usual."""
        fold, squares = np.arange(len(x)) % FOLDS, EXPECTED_COUNT * EXPECTED_ERROR**2
        for k in np.unique(fold) if len(x) > 1 else ():
            rule = self.rule(x[fold != k], log_s[fold != k])
            squares += float(((rule(x[fold == k]) - log_s[fold == k]) ** 2).sum())
        return float(np.sqrt(squares / (EXPECTED_COUNT + max(len(x) - 1, 0))))


@dataclass(frozen=True, eq=False)
class DeviceFit:
    """One device. error: log-seconds. near: (n, F), the samples, standardised."""

    rule: Fitted
    error: float
    near: FloatArray
    inner: Conditioned


@dataclass(frozen=True, eq=False)
class FittedPlain:
    """The model after some samples."""

    model: PlainModel
    observations: Observations
    fits: tuple[DeviceFit, ...]

    def posterior(self, features: FloatArray, device: str, joint: bool = False) -> Posterior:
        """As `predictors.FittedPredictor.posterior`; `joint` needs M^2 numbers."""
        fit = self.fits[self.observations.index(device)]
        new = self.model.scaling.apply(features)
        _, reduction = fit.inner.explain(rbf(fit.near, new))
        level = 0.0 if len(fit.near) else unseen.STD
        own = np.maximum(1 - (reduction**2).sum(0), 0)
        noise = np.full(len(new), fit.error * np.sqrt(NOISE_SHARE))
        std = np.hypot(fit.error * np.sqrt(own), level)
        found = Posterior(fit.rule(features), std, noise)
        if not joint:
            return found
        both = rbf(new, new) - reduction.T @ reduction
        return replace(found, covariance=fit.error**2 * both + level**2)


SMALLEST_SHARE = 1e-3
"""Of the largest sample: whatever is smaller counts as this much, so that it has a logarithm."""

SLOPE_WEIGHT = 0.05
LEAST_SLOPE = 0.01
"""Of log-latency on a column's logarithm: it is 1 beforehand, with the weight of so much squared
distance, and never falls."""


@dataclass(frozen=True, eq=False)
class NearestColumn:
    """The column that ranks the samples best, as a power law of latency.

    columns: so many of the first ones, costs or latencies, not negative; the others only say how
    far networks are from each other. Of one column it is the rule "by FLOPs", of the latencies of
    known devices it is the nearest device.
    """

    columns: int

    def __call__(self, x: FloatArray, log_s: FloatArray) -> Fitted:
        known = x[:, : self.columns]
        ranks = [metrics.spearman(column, log_s) for column in known.T]
        best = int(np.argmax([-1.0 if rho is None else rho for rho in ranks]))
        floor = max(SMALLEST_SHARE * float(known[:, best].max()), np.finfo(float).tiny)
        own, middle = np.log(np.maximum(known[:, best], floor)), float(np.median(log_s))
        centre = float(np.median(own))
        products = float(((own - centre) * (log_s - middle)).sum())
        squares = float(((own - centre) ** 2).sum())
        slope = max((SLOPE_WEIGHT + products) / (SLOPE_WEIGHT + squares), LEAST_SLOPE)
        return lambda new: middle + slope * (np.log(np.maximum(new[:, best], floor)) - centre)


LOOKUP_PENALTY = 0.1
"""Of a layer's time apart from the mean time of all, relative to that of a sample's error."""


@dataclass(frozen=True, eq=False)
class LookupTable:
    """A table of layers: latency is a constant plus the time of each layer, none negative.

    As FBNet's (Wu et al. 2019, section 3.2, equation 2), but the times are found from whole
    networks by penalised least squares, since few-shot samples are of whole networks. Features are
    the 0 and 1 of Vec.
    """

    def __call__(self, x: FloatArray, log_s: FloatArray) -> Fitted:
        unit_log_s = float(np.median(log_s))
        rows = np.column_stack([x, np.ones(len(x))])
        penalty = np.sqrt(LOOKUP_PENALTY) * np.eye(x.shape[1], x.shape[1] + 1)
        # Times shrink towards an even share: the layers that no sample has are not free.
        share = 1 / (1 + float(x.sum(1).mean()))
        wanted = np.concatenate(
            [np.exp(log_s - unit_log_s), np.full(x.shape[1], penalty[0, 0] * share)]
        )
        times, _ = nnls(np.concatenate([rows, penalty]), wanted)
        return lambda new: (
            unit_log_s + np.log(np.maximum(new @ times[:-1] + times[-1], SMALLEST_SHARE))
        )
