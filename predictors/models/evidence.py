"""Exact Gaussian inference, averaged over a grid of hyper-parameters by their evidence.

Rasmussen & Williams, Gaussian Processes for Machine Learning, 2006: the log evidence is
equation 2.30, mean and variance are Algorithm 2.1. Averaging over a grid needs no gradient, has
no local optimum, and widens the interval where the data cannot tell the hyper-parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular

from predictors import FloatArray, IntArray

NEGLIGIBLE = 1e-2
"""Share of the evidence that is dropped: most grid points have less, and each costs time."""


DRAWN = 25
"""Hypotheses that draws are made of: each takes the factor of a covariance."""

JITTER = 1e-2
"""Of the variance of one sample, added to a covariance that rounding may have made indefinite."""


@dataclass(frozen=True, eq=False)
class Conditioned:
    """One covariance matrix, conditioned on J columns of residuals.

    factor: (n, n), lower Cholesky factor L of the covariance.
    whitened: (n, J), L^-1 r.
    """

    factor: FloatArray
    whitened: FloatArray

    @classmethod
    def on(cls, covariance: FloatArray, residuals: FloatArray) -> Conditioned:
        """covariance: (n, n), noise included; residuals: (n, J)."""
        if not len(residuals):
            return cls(covariance, residuals)
        factor = cholesky(covariance, lower=True)
        return cls(factor, solve_triangular(factor, residuals, lower=True))

    def log_evidence(self) -> FloatArray:
        """(J,), equation 2.30."""
        n = len(self.whitened)
        log_determinant = 2 * np.log(np.diag(self.factor)).sum()
        fit = (self.whitened**2).sum(0)
        return np.asarray(-0.5 * (fit + log_determinant + n * np.log(2 * np.pi)))

    def explain(self, cross: FloatArray) -> tuple[FloatArray, FloatArray]:
        """cross: (n, M) covariance to M other points -> means (M, J), and V (n, M), where
        V.T @ V is how much less their covariance is than before."""
        if not len(cross):
            return np.zeros((cross.shape[1], self.whitened.shape[1])), cross
        reduction = solve_triangular(self.factor, cross, lower=True)
        return reduction.T @ self.whitened, reduction

    def solve(self, whitened: FloatArray) -> FloatArray:
        """L^-T (n, K): a whitened column becomes a solution of the covariance."""
        if not len(whitened):
            return whitened
        return np.asarray(solve_triangular(self.factor, whitened, lower=True, trans="T"))

    def leave_one_out(self) -> tuple[FloatArray, FloatArray]:
        """Each entry minus its mean given all others (n, J), and the variance then (n,).

        Equation 5.12.
        """
        inverse = cho_solve((self.factor, True), np.eye(len(self.factor)))
        variance = 1 / np.diag(inverse)
        return self.solve(self.whitened) * variance[:, None], variance


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """A grid point that the data leave standing, with the residual columns that they leave.

    columns: (K,), which of the J columns of residuals; `conditioned` is on those alone.
    weight: (K,), their shares of the evidence; all hypotheses' sum to 1.
    """

    index: int
    columns: IntArray
    weight: FloatArray
    conditioned: Conditioned


def average(
    covariance: Callable[[int], FloatArray],
    points: int,
    residuals: FloatArray,
    log_prior: FloatArray,
) -> list[Hypothesis]:
    """Weigh `points` covariances and J residual columns against each other by evidence.

    covariance: grid point -> (n, n) covariance of the residuals, noise included.
    residuals: (n, J), one column for each mean function.
    log_prior: (J,), or (points, J).

    The least likely pairs, NEGLIGIBLE together, are dropped and the weights renormalised.
    Covariances are made twice rather than kept: a grid of a hundred would fill the memory.
    """
    evidence = [Conditioned.on(covariance(t), residuals).log_evidence() for t in range(points)]
    weights = without_negligible(softmax(np.stack(evidence) + log_prior))
    hypotheses = []
    for t in np.flatnonzero(weights.any(1)):
        columns = np.flatnonzero(weights[t])
        conditioned = Conditioned.on(covariance(int(t)), residuals[:, columns])
        hypotheses.append(Hypothesis(int(t), columns, weights[t, columns], conditioned))
    return hypotheses


def without_negligible(weights: FloatArray) -> FloatArray:
    """The same, with the smallest entries, NEGLIGIBLE together, set to 0; sums to 1."""
    order = np.argsort(weights, axis=None, kind="stable")
    dropped = order[np.cumsum(weights.ravel()[order]) < NEGLIGIBLE]
    kept = weights.copy()
    kept.ravel()[dropped] = 0
    return np.asarray(kept / kept.sum())


def softmax(log_weights: FloatArray) -> FloatArray:
    """exp, normalised to sum 1 over all entries; safe for large and small logarithms."""
    weights = np.exp(log_weights - log_weights.max())
    return np.asarray(weights / weights.sum())


@dataclass(frozen=True, eq=False)
class Weighed:
    """H covariances, each of n residuals from J mean functions, weighed by evidence.

    weight: (H, J), summing to 1. inverse: (H, n, n), of the covariance, noise included. solved:
    (H, n, J), inverse times residuals. components: (H, C), weights of the kernels. scale: (H,),
    by which samples were divided. noise: (H,), variance of one sample, in units of scale squared.
    """

    weight: FloatArray
    inverse: FloatArray
    solved: FloatArray
    components: FloatArray
    scale: FloatArray
    noise: FloatArray

    def draw(
        self,
        functions: FloatArray,
        between: FloatArray,
        own: FloatArray,
        draws: int,
        rng: np.random.Generator,
    ) -> tuple[FloatArray, FloatArray]:
        """(draws, M) values at M points, and one sample of each, without spikes.

        Of DRAWN hypotheses, drawn by their weights, an equal number of draws each. functions:
        (M, J); between: (C, n, M); own: (C, M, M), as in `Collapsed`.
        """
        drawn = rng.choice(self.weight.size, size=DRAWN, p=self.weight.ravel())
        values, samples = [], []
        for part, pair in zip(np.array_split(np.arange(draws), DRAWN), drawn, strict=True):
            h, j = divmod(int(pair), self.weight.shape[1])
            cross = np.tensordot(self.components[h], between, 1)
            mean = functions[:, j] + cross.T @ self.solved[h, :, j]
            left = np.tensordot(self.components[h], own, 1) - cross.T @ self.inverse[h] @ cross
            jitter = JITTER * float(self.noise[h]) * np.eye(len(mean))
            factor = cholesky(left + jitter, lower=True)
            value = mean + rng.standard_normal((len(part), len(mean))) @ factor.T
            error = np.sqrt(self.noise[h]) * rng.standard_normal(value.shape)
            values.append(self.scale[h] * value)
            samples.append(self.scale[h] * (value + error))
        return np.concatenate(values), np.concatenate(samples)


@dataclass(frozen=True, eq=False)
class Collapsed:
    """All hypotheses as one quadratic form: predicting costs the same for any number of them.

    At a point with mean functions (J,), covariances to the n samples under each of C kernel
    components (C, n), and own variances (C,), let psi be the first two in a row, Q = J + C n.

    mean: (Q,), psi @ mean is the mixture's mean.
    less: (Q, Q), what the samples explain minus how much the hypotheses disagree.
    prior: (C,); prior @ own - psi @ less @ psi is the mixture's variance.
    """

    mean: FloatArray
    less: FloatArray
    prior: FloatArray

    @classmethod
    def of(cls, weighed: Weighed) -> Collapsed:
        """From all hypotheses; what `weighed` holds of each is next to nothing for the others."""
        j, n, c = weighed.weight.shape[1], weighed.inverse.shape[1], weighed.components.shape[1]
        at, function = np.nonzero(weighed.weight)
        share, scale, kernels = (a[at] for a in (weighed.weight, weighed.scale, weighed.components))
        share = share[np.arange(len(at)), function]
        on_samples = kernels[:, :, None] * weighed.solved[at, :, function][:, None]
        each = np.concatenate([np.eye(j)[function], on_samples.reshape(len(at), c * n)], axis=1)
        each = (each * scale[:, None]).T
        mean = each @ share
        less = -((each - mean[:, None]) * share) @ (each - mean[:, None]).T
        squares = weighed.weight.sum(1) * weighed.scale**2
        pairs = (
            squares[:, None, None] * weighed.components[:, :, None] * weighed.components[:, None]
        )
        explained = np.tensordot(pairs, weighed.inverse, ((0,), (0,)))
        less[j:, j:] += explained.transpose(0, 2, 1, 3).reshape(c * n, c * n)
        return cls(mean, less, squares @ weighed.components)

    def predict(
        self, functions: FloatArray, between: FloatArray, own: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """functions: (M, J); between: (C, n, M); own: (C, M), or (C, M, M) for covariances.

        Returns the mean (M,), and the variance (M,) or covariance (M, M).
        """
        psi = _psi(functions, between)
        bent = psi @ self.less
        gain = bent @ psi.T if own.ndim == 3 else np.einsum("mq,mq->m", bent, psi)
        return psi @ self.mean, np.tensordot(self.prior, own, 1) - gain

    def mean_of(self, functions: FloatArray, between: FloatArray) -> FloatArray:
        """(M,), as `predict` has it."""
        return _psi(functions, between) @ self.mean

    def covariance(
        self,
        first: tuple[FloatArray, FloatArray],
        second: tuple[FloatArray, FloatArray],
        own: FloatArray,
    ) -> FloatArray:
        """(A, B) between two sets of points, each told by its functions and its covariances to the
        samples, as in `predict`; own: (C, A, B), between the sets."""
        gain = _psi(*first) @ self.less @ _psi(*second).T
        return np.asarray(np.tensordot(self.prior, own, 1) - gain)


def _psi(functions: FloatArray, between: FloatArray) -> FloatArray:
    """(M, Q), see `Collapsed`. functions: (M, J); between: (C, n, M)."""
    c, n, m = between.shape
    return np.concatenate([functions, between.reshape(c * n, m).T], axis=1)


def moments(
    weights: list[FloatArray], means: list[FloatArray], spreads: list[FloatArray]
) -> tuple[FloatArray, FloatArray]:
    """Mean and (co)variance of a mixture of normals, one item of each list a hypothesis.

    weights: (J,) each, summing to 1 over all; means: (M, J) each; spreads: variances (M,) each,
    or covariances (M, M) each, common to a hypothesis' J columns. Returns (M,), and (M,) or
    (M, M): the mean spread, plus how much the hypotheses disagree.
    """
    mean = np.sum([m @ w for w, m in zip(weights, means, strict=True)], axis=0)
    spread = np.zeros_like(spreads[0])
    for w, m, own in zip(weights, means, spreads, strict=True):
        apart = m - mean[:, None]
        disagreement = (apart * w) @ apart.T if own.ndim == 2 else apart**2 @ w
        spread += w.sum() * own + disagreement
    return mean, spread
