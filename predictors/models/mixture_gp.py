"""A mixture of Gaussian processes around known devices, for a device with few samples.

A new device runs networks somewhat as a known one does, real or virtual, or as an average of
them. Each of these is a mean function. Around it, a Gaussian process on the square root of
latency is linear in what all known devices say, with corrections that are smooth in that and in
the network's structure. Another is linear in latencies and costs themselves, for a device that adds
up what a network's parts take. Scales (`predictors.models.scales`), mean functions, amplitudes and
a grid of variances are averaged by evidence (`predictors.models.weighing`), and with them which
samples were disturbed: some devices report whole milliseconds with spikes.

Devices are predicted apart from each other; what they share is in the encoding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from predictors import FloatArray, Observations, Posterior
from predictors.encodings.hwl import positive
from predictors.encodings.normalisation import TrainingRows
from predictors.models import contamination, evidence, unseen
from predictors.models.scales import LEVEL, SMOOTH, Known, Scale, Views
from predictors.models.weighing import Samples, Share, weigh

FEW = 3
FEW_STD = 0.5
"""Log-seconds; of the level of a device with fewer samples, which may all be of odd networks."""

_CHUNK = 2048


@dataclass(frozen=True, eq=False)
class MixtureGP:
    """The model before any sample of a target, over a pool of N networks.

    A feature row is a network's encoding: `real` columns of latency on reference devices,
    analytic ones, and its structure.

    features: (N, F), the rows of the pool. roots: the scale of square roots. sums: that of latency
    itself; None where there is nothing that adds up.
    """

    features: FloatArray
    roots: Scale
    sums: Scale | None

    @classmethod
    def over(
        cls,
        real: FloatArray,
        analytic: FloatArray,
        structure: FloatArray,
        rows: TrainingRows,
        spread: FloatArray,
        analytic_spread: FloatArray,
    ) -> MixtureGP:
        """real: (N, R), analytic: (N, V), structure: (N, S); R or V may be 0. spread: (R,).

        analytic_spread: of as many of the first analytic columns as are costs that a device may go
        by alone, and so mean functions; by the others it goes together, as by operation counts.
        """
        features = np.concatenate([real, analytic, structure], axis=1)
        known = Known(analytic.shape[1], spread, analytic_spread)
        scales = [Scale.of(known, features, rows, sums) for sums in (False, True)]
        return cls(features, *scales)

    @property
    def spread(self) -> float:
        """Of the square root of latency on a typical device."""
        return self.roots.spread

    def fit(self, observations: Observations) -> FittedMixtureGP:
        """Condition on the target's samples; of the order of 0.05 s for twenty."""
        features, latency_s = observations.features, observations.latency_s
        noise_std = observations.own_noise_std
        targets = tuple(
            Target.of(self, features[own], latency_s[own], noise_std[own])
            for own in (observations.device == d for d in range(len(observations.devices)))
        )
        return FittedMixtureGP(self, observations, targets)

    def covariance(self, a: FloatArray, b: FloatArray) -> FloatArray:
        """Prior covariance averaged over grid and mean functions: (A, F), (B, F) -> (A, B).

        Of square roots, in units of the typical spread squared; it depends on no measured value.
        """
        first, second = self.roots.view(a), self.roots.view(b)
        total = np.tensordot(self._mean_weights, first.kernels(second), 1)
        return np.asarray(total + _disagreement(first) @ _disagreement(second).T)

    def variance(self, a: FloatArray) -> FloatArray:
        """The diagonal of `covariance(a, a)`: (A, F) -> (A,)."""
        view = self.roots.view(a)
        total = self._mean_weights @ view.diagonals()
        return np.asarray(total + (_disagreement(view) ** 2).sum(1))

    @property
    def noise_variance(self) -> float:
        """Prior variance of one sample, in units of the typical spread squared."""
        return float(SMOOTH.noise.mean())

    def variance_of(self, noise_std: float) -> float:
        """As `predictors.acquisition.Prior`: at the typical latency, whose root is 1."""
        return (noise_std / 2 / self.spread) ** 2

    @property
    def _mean_weights(self) -> FloatArray:
        return np.append(SMOOTH.weights.mean(0), LEVEL)


@dataclass(frozen=True, eq=False)
class Target:
    """One device, conditioned on its samples. All is of square roots of latency relative to the
    median sample, less 1, in typical spreads.

    unit_s: the median sample. level_std: log-seconds, of the device's level where it has next to no
    sample; otherwise 0. noise_variance: of one sample, widened for spikes. parts: one of each scale
    that evidence leaves.
    """

    unit_s: float
    level_std: float
    noise_variance: float
    parts: tuple[Share, ...]

    @classmethod
    def of(
        cls, model: MixtureGP, features: FloatArray, latency_s: FloatArray, noise_std: FloatArray
    ) -> Target:
        """features: (n, F), latency_s: (n,) seconds, noise_std: (n,) log-seconds; n may be 0."""
        n = len(latency_s)
        unit_s = float(np.median(latency_s)) if n else float(np.exp(unseen.LOG_S))
        # Fewer samples say nothing of how latency is bent.
        scales = [model.roots] if model.sums is None or n < FEW else [model.roots, model.sums]
        latency = latency_s / unit_s
        parts = weigh([Samples.of(scale, features, latency, noise_std) for scale in scales])
        variance, rate = (
            sum(part.share * value for part, value in zip(parts, values, strict=True))
            for values in ([p.noise_variance for p in parts], [p.rate for p in parts])
        )
        noise = contamination.noise_scale(np.sqrt(variance), rate, model.spread) ** 2
        level_std = unseen.STD if not n else FEW_STD if n < FEW else 0.0
        return cls(unit_s, level_std, noise, tuple(parts))

    def predict(self, features: FloatArray, joint: bool) -> tuple[FloatArray, FloatArray]:
        """Mean (M,) and variance (M,), or covariance (M, M)."""
        found = [part.predict(features, joint) for part in self.parts]
        if len(found) == 1:
            return found[0]
        weights = [np.array([part.share]) for part in self.parts]
        return evidence.moments(
            weights, [mean[:, None] for mean, _ in found], [spread for _, spread in found]
        )

    def covariance(self, a: FloatArray, b: FloatArray) -> FloatArray:
        """(A, F), (B, F) -> (A, B), as `predict` has the variance."""
        found = [(part.share, *part.covariance(a, b)) for part in self.parts]
        first, second = (sum(each[0] * each[k] for each in found) for k in (2, 3))
        return np.asarray(
            sum(
                share * (own + np.outer(mine - first, theirs - second))
                for share, own, mine, theirs in found
            )
        )

    def draw(
        self, features: FloatArray, draws: int, rng: np.random.Generator
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """(draws, M), and samples of them, (draws, M), without spikes; (draws,), the rate of
        those."""
        shares = np.array([part.share for part in self.parts])
        # Rounding may have made it a little more than 1 in all.
        counts = rng.multinomial(draws, shares / shares.sum())
        found = [
            part.draw(features, count, rng) for part, count in zip(self.parts, counts, strict=True)
        ]
        values, samples = (np.concatenate([each[k] for each in found]) for k in (0, 1))
        return values, samples, np.repeat([part.rate for part in self.parts], counts)


@dataclass(frozen=True, eq=False)
class Belief:
    """What is believed of one device after some samples, as `predictors.acquisition.Prior`.

    In units of the typical spread squared. Unlike a single Gaussian process's, it depends on what
    was measured: hypotheses that disagree where evidence has not decided between them add to it.
    """

    model: MixtureGP
    target: Target

    @property
    def noise_variance(self) -> float:
        """Of one sample."""
        return self.target.noise_variance

    def variance_of(self, noise_std: float) -> float:
        """What noise of a measurement, in log-seconds, adds to that."""
        return self.model.variance_of(noise_std)

    def covariance(self, a: FloatArray, b: FloatArray) -> FloatArray:
        """(A, F), (B, F) -> (A, B)."""
        return self.target.covariance(a, b)

    def variance(self, a: FloatArray) -> FloatArray:
        """The diagonal of `covariance(a, a)`: (A, F) -> (A,)."""
        return self.target.predict(a, False)[1]


@dataclass(frozen=True, eq=False)
class FittedMixtureGP:
    """The model after some samples."""

    model: MixtureGP
    observations: Observations
    targets: tuple[Target, ...]

    def belief(self, device: str) -> Belief:
        """What to choose the device's next samples by. Raises UnknownName."""
        return Belief(self.model, self.targets[self.observations.index(device)])

    def posterior(self, features: FloatArray, device: str, joint: bool = False) -> Posterior:
        """As `predictors.FittedPredictor.posterior`; `joint` needs M^2 numbers."""
        target = self.targets[self.observations.index(device)]
        size = max(len(features), 1) if joint else _CHUNK
        parts = [target.predict(rows, joint) for rows in _chunks(features, size)]
        mean = 1 + self.model.spread * np.concatenate([mean for mean, _ in parts])
        log_s = np.log(target.unit_s) + 2 * np.log(positive(mean))
        noise_std = _log_std(mean, self.model.spread * np.sqrt(target.noise_variance))
        if joint:
            sampler = partial(self.draw, features, device)
            margins = Posterior(log_s, log_s, noise_std, sampler=sampler)
            return self._joint(mean, parts[0][1], margins, target)
        variance = np.maximum(np.concatenate([variance for _, variance in parts]), 0)
        std = _log_std(mean, self.model.spread * np.sqrt(variance))
        return Posterior(log_s, np.hypot(std, target.level_std), noise_std)

    def _joint(
        self, mean: FloatArray, covariance: FloatArray, margins: Posterior, target: Target
    ) -> Posterior:
        """With the correlations of the roots, whose covariance is (M, M) in spreads squared."""
        std = np.sqrt(np.maximum(np.diag(covariance), 0))
        correlation = covariance / np.outer(std, std)
        std = _log_std(mean, self.model.spread * std)
        covariance = np.outer(std, std) * correlation + target.level_std**2
        return replace(margins, std=np.sqrt(np.diag(covariance)), covariance=covariance)

    def draw(
        self, features: FloatArray, device: str, draws: int, seed: int
    ) -> tuple[FloatArray, FloatArray]:
        """(draws, M) latencies, and one measurement of each, (draws, M), some of them spikes;
        log-seconds. The level of a device with next to no sample is not drawn."""
        target, rng = self.targets[self.observations.index(device)], np.random.default_rng(seed)
        *found, rate = target.draw(features, draws, rng)
        values, samples = (1 + self.model.spread * one for one in found)
        spikes = rng.random(samples.shape) < rate[:, None]
        further = rng.normal(contamination.SPIKE_MEAN, contamination.SPIKE_STD, samples.shape)
        unit = np.log(target.unit_s)
        return tuple(unit + 2 * np.log(positive(x)) for x in (values, samples + spikes * further))


def _disagreement(view: Views) -> FloatArray:
    """(M, J), such that its inner products are the covariance of the mean functions."""
    apart = view.means - view.means.mean(1, keepdims=True)
    return np.asarray(apart / np.sqrt(view.means.shape[1]))


def _log_std(roots: FloatArray, std: FloatArray | float) -> FloatArray:
    """(M,) log-seconds: half the distance in log-latency between a deviation up and one down."""
    return np.asarray(np.log(positive(roots + std)) - np.log(positive(roots - std)))


def _chunks(features: FloatArray, size: int) -> Iterator[FloatArray]:
    for start in range(0, max(len(features), 1), size):
        yield features[start : start + size]
