"""A mixture of Gaussian processes around known devices, for a device with few samples.

A new device runs networks somewhat as a known one does, real or virtual, or as an average of
them. Each of these is a mean function. Around it, a Gaussian process on the square root of
latency is linear in what all known devices say, with corrections that are smooth in that and in
the network's structure. Mean functions, amplitudes and a grid of variances are averaged by
evidence, and with them which samples were disturbed: some devices report whole milliseconds with
spikes (`predictors.models.contamination`).

Devices are predicted apart from each other; what they share is in the encoding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

import numpy as np
from scipy.special import logsumexp

from predictors import FloatArray, IntArray, Observations, Posterior
from predictors.encodings.hwl import positive, root
from predictors.encodings.normalisation import Standardisation, TrainingRows
from predictors.models import contamination, evidence, unseen
from predictors.models.kernels import squared_distances

AMPLITUDES = np.array([0.5, 1.0, 2.0])
"""Spread of a device relative to that of a typical known one."""

AMPLITUDE_STD = 0.5
"""Logarithmic, of a device's spread around that of the known one whose ways it has: a device that
goes by kernels alone tells networks apart as little as their numbers of kernels do."""

TYPICAL_SPREAD = 0.15
"""Of the square root of latency, relative to its median, where no known device says better."""

RELEVANCE_RIDGE = 0.02
"""Penalty, for each training row, of the fit that says which structure columns matter."""

LEVEL = 30.0
"""Prior variance of a device's level, in typical spreads squared. Latencies are relative to the
median sample, which may be a network on the rim of the space: any level will do."""

FEW = 3
FEW_STD = 0.5
"""Log-seconds; of the level of a device with fewer samples, which may all be of odd networks."""

WEIGHED = 60
"""Samples that all of GRID is weighed by. More only decide between what these leave standing: time
grows with the cube of the samples, for each setting."""

STANDING = 12
"""So many of the settings are conditioned on more samples, and the likeliest at every noise, by
which spikes are told: with too little of it, noise is taken for them."""

_CHUNK = 2048


@dataclass(frozen=True)
class Hyperparameters:
    """One point of the grid; variances are relative to the device's spread squared.

    real, virtual: of the linear kernels on the known devices. structure: of the additive kernel
    on structure, twice that of each of the two smooth ones. noise: of one sample.
    """

    real: float
    analytic: float
    structure: float
    noise: float

    @property
    def weights(self) -> FloatArray:
        """Of the components in the order of `Views.kernels`, without the level."""
        smooth = self.structure / 2
        return np.array([self.real, self.analytic, smooth, self.structure, smooth])


GRID = tuple(
    Hyperparameters(*point)
    for point in product(
        (0.02, 0.15, 1.0), (0.02, 0.15, 1.0), (0.01, 0.05, 0.3), (0.004, 0.03, 0.2, 1.0)
    )
)


_WEIGHTS = np.array([point.weights for point in GRID])
_NOISE = np.array([point.noise for point in GRID])
_POINT = np.repeat(np.arange(len(GRID)), len(AMPLITUDES))
_AMPLITUDE = np.tile(AMPLITUDES, len(GRID))
_COMPONENTS = np.column_stack([_WEIGHTS[_POINT], LEVEL / _AMPLITUDE**2])
"""All settings of a device: each point of GRID, at each of AMPLITUDES."""

_COARSE = np.array([point.real == point.analytic == 0.15 for point in GRID])
"""Enough of the grid to tell spikes by."""


@dataclass(frozen=True, eq=False)
class Views:
    """Networks as the parts of the model see them, scaled so that inner products are near 1.

    real (M, R), virtual (M, V), additive (M, S), structure (M, S); means (M, J): the mean
    functions, each of unit spread over the training rows.
    """

    real: FloatArray
    analytic: FloatArray
    additive: FloatArray
    structure: FloatArray
    means: FloatArray

    def kernels(self, other: Views) -> FloatArray:
        """(6, A, B): linear in real and in analytic features, smooth in both, additive and smooth
        in structure, constant."""
        mine = np.concatenate([self.real, self.analytic], axis=1)
        theirs = np.concatenate([other.real, other.analytic], axis=1)
        return np.stack(
            [
                self.real @ other.real.T,
                self.analytic @ other.analytic.T,
                np.exp(-squared_distances(mine, theirs)),
                self.additive @ other.additive.T,
                np.exp(-squared_distances(self.structure, other.structure) / 2),
                np.ones((len(mine), len(theirs))),
            ]
        )

    def first(self, n: int) -> Views:
        """Of the first n networks."""
        parts = (self.real, self.analytic, self.additive, self.structure, self.means)
        return Views(*(part[:n] for part in parts))

    def diagonals(self) -> FloatArray:
        """(6, M): the diagonals of `kernels(self)`."""
        ones = np.ones(len(self.means))
        parts = [(part**2).sum(1) for part in (self.real, self.analytic, self.additive)]
        return np.stack([parts[0], parts[1], ones, parts[2], ones, ones])


@dataclass(frozen=True, eq=False)
class MixtureGP:
    """The model before any sample of a target, over a pool of N networks.

    A feature row is a network's encoding: `real` columns of latency on reference devices,
    `virtual` analytic ones, and its structure.

    features: (N, F), the rows of the pool. ruling: so many virtual columns are mean functions.
    scaling: of each column over the training rows. mean_scaling: of the mean functions.
    relevance: (S,), how much each structure column matters on the references, summing to 1.
    spread: typical of the references (`HardwareLatencies`), or else of the analytic features.
    log_prior: (A, J), of each amplitude for each mean function, summing to 1 over amplitudes.
    """

    features: FloatArray
    real: int
    analytic: int
    ruling: int
    scaling: Standardisation
    mean_scaling: Standardisation
    relevance: FloatArray
    spread: float
    log_prior: FloatArray

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
        """real: (N, R), virtual: (N, V), structure: (N, S); R or V may be 0. spread: (R,).

        virtual_spread: of as many of the first virtual columns as are costs that a device may go
        by alone, and so mean functions; by the others it goes together, as by operation counts.
        """
        features = np.concatenate([real, analytic, structure], axis=1)
        scaling = Standardisation.fit(features, rows)
        scaled = scaling.apply(features)
        r, v, ruling = real.shape[1], analytic.shape[1], len(analytic_spread)
        means = _mean_functions(scaled[:, :r], scaled[:, r : r + ruling])
        relevance = _relevance(scaled[rows.indices, r + v :], scaled[rows.indices, :r])
        known = spread if len(spread) else analytic_spread
        typical = float(np.median(known)) if len(known) else TYPICAL_SPREAD
        mean_scaling = Standardisation.fit(means, rows)
        log_prior = _amplitude_log_prior(_spreads(spread, analytic_spread, typical) / typical)
        return cls(features, r, v, ruling, scaling, mean_scaling, relevance, typical, log_prior)

    def view(self, features: FloatArray) -> Views:
        """Raw features (M, F) as the parts of the model see them."""
        scaled = self.scaling.apply(features)
        real, rest = scaled[:, : self.real], scaled[:, self.real :]
        analytic, structure = rest[:, : self.analytic], rest[:, self.analytic :]
        return Views(
            real / np.sqrt(max(self.real, 1)),
            analytic / np.sqrt(max(self.analytic, 1)),
            structure * np.sqrt(self.relevance),
            structure / np.sqrt(max(structure.shape[1], 1)),
            self.mean_scaling.apply(_mean_functions(real, analytic[:, : self.ruling])),
        )

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

        In units of the typical spread squared; it depends on no measured value.
        """
        first, second = self.view(a), self.view(b)
        total = np.tensordot(self._mean_weights, first.kernels(second), 1)
        return np.asarray(total + _disagreement(first) @ _disagreement(second).T)

    def variance(self, a: FloatArray) -> FloatArray:
        """The diagonal of `covariance(a, a)`: (A, F) -> (A,)."""
        view = self.view(a)
        total = self._mean_weights @ view.diagonals()
        return np.asarray(total + (_disagreement(view) ** 2).sum(1))

    @property
    def noise_variance(self) -> float:
        """Prior variance of one sample, in units of the typical spread squared."""
        return float(np.mean([point.noise for point in GRID]))

    def variance_of(self, noise_std: float) -> float:
        """As `predictors.acquisition.Prior`: at the typical latency, whose root is 1."""
        return (noise_std / 2 / self.spread) ** 2

    @property
    def _mean_weights(self) -> FloatArray:
        return np.asarray(np.append(_WEIGHTS.mean(0), LEVEL))


@dataclass(frozen=True, eq=False)
class Target:
    """One device, conditioned on its samples.

    unit_s: the median sample; square roots are of latencies relative to it.
    level_std: log-seconds, of the device's level where it has next to no sample; otherwise 0.
    noise_variance: of one sample, relative to the typical spread squared, widened for spikes.
    rate: the share of samples that are spikes.
    """

    view: Views
    unit_s: float
    level_std: float
    noise_variance: float
    rate: float
    weighed: evidence.Weighed
    collapsed: evidence.Collapsed

    @classmethod
    def of(
        cls, model: MixtureGP, features: FloatArray, latency_s: FloatArray, noise_std: FloatArray
    ) -> Target:
        """features: (n, F), latency_s: (n,) seconds, noise_std: (n,) log-seconds; n may be 0."""
        view, n = model.view(features), len(latency_s)
        unit_s = float(np.median(latency_s)) if n else float(np.exp(unseen.LOG_S))
        roots = root(latency_s / unit_s)
        own_noise = (roots * noise_std / 2 / model.spread) ** 2
        samples = Samples(view, (roots - 1) / model.spread, own_noise)
        weighed, variance, rate = _weigh(model, samples)
        noise = contamination.noise_scale(np.sqrt(variance), rate, model.spread) ** 2
        collapsed = evidence.Collapsed.of(weighed)
        level_std = unseen.STD if not n else FEW_STD if n < FEW else 0.0
        return cls(view, unit_s, level_std, noise, rate, weighed, collapsed)

    def predict(self, view: Views, joint: bool) -> tuple[FloatArray, FloatArray]:
        """Mean (M,) and variance (M,), or covariance (M, M), of the relative root, less 1."""
        own = view.kernels(view) if joint else view.diagonals()
        return self.collapsed.predict(view.means, self.view.kernels(view), own)

    def draw(self, view: Views, draws: int, rng: np.random.Generator) -> tuple[FloatArray, ...]:
        """(draws, M) relative roots, less 1, and samples of them, (draws, M), without spikes."""
        between = self.view.kernels(view)
        return self.weighed.draw(view.means, between, view.kernels(view), draws, rng)

    def covariance(self, first: Views, second: Views) -> FloatArray:
        """(A, B), of the relative root, as `predict` has the variance."""
        both = [(view.means, self.view.kernels(view)) for view in (first, second)]
        return self.collapsed.covariance(both[0], both[1], first.kernels(second))


@dataclass(frozen=True, eq=False)
class Samples:
    """What was measured of one device. view: of the n networks. relative: (n,), roots of latency
    less 1, and own_noise: (n,), variances known of each beside that of GRID; in typical spreads."""

    view: Views
    relative: FloatArray
    own_noise: FloatArray

    def first(self, n: int) -> Samples:
        """The first n of them, or all where there are fewer."""
        return Samples(self.view.first(n), self.relative[:n], self.own_noise[:n])


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
        return self.target.covariance(self.model.view(a), self.model.view(b))

    def variance(self, a: FloatArray) -> FloatArray:
        """The diagonal of `covariance(a, a)`: (A, F) -> (A,)."""
        return self.target.predict(self.model.view(a), False)[1]


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
        parts = [target.predict(self.model.view(rows), joint) for rows in _chunks(features, size)]
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
        found = target.draw(self.model.view(features), draws, rng)
        values, samples = (1 + self.model.spread * one for one in found)
        spikes = rng.random(samples.shape) < target.rate
        further = rng.normal(contamination.SPIKE_MEAN, contamination.SPIKE_STD, samples.shape)
        unit = np.log(target.unit_s)
        return tuple(unit + 2 * np.log(positive(x)) for x in (values, samples + spikes * further))


def _weigh(model: MixtureGP, samples: Samples) -> tuple[evidence.Weighed, float, float]:
    """All of GRID at all AMPLITUDES, for each likely set of spikes; the variance of one sample,
    averaged; and the share of spikes among those that are still to come."""
    settings, n = np.arange(len(_POINT)), len(samples.relative)
    setting = _setting(model, samples.first(WEIGHED), settings)
    if n > WEIGHED:
        settings, sets = _standing(model, samples, setting)
        setting = _setting(model, samples, settings)
    else:
        sets = contamination.search(setting.only(np.flatnonzero(_COARSE[_POINT])))
    log_evidence = [contamination.Given.of(setting, spikes).log_evidence for spikes in sets]
    shares = evidence.without_negligible(evidence.softmax(np.stack(log_evidence)))
    noise = _NOISE[_POINT[settings]]
    weighed = _weighed(setting, sets, shares, _COMPONENTS[settings], noise)
    variance = float(shares.sum((0, 2)) @ (noise * setting.amplitude**2))
    rates = [contamination.expected_rate(n, len(spikes)) for spikes in sets]
    return weighed, variance, float(shares.sum((1, 2)) @ rates)


def _setting(model: MixtureGP, samples: Samples, settings: IntArray) -> contamination.Setting:
    """Some of the points of GRID at AMPLITUDES. settings: (P,), positions in _POINT."""
    amplitude, view = _AMPLITUDE[settings], samples.view
    covariance = np.tensordot(_COMPONENTS[settings], view.kernels(view), 1)
    noise = _NOISE[_POINT[settings], None] + samples.own_noise / amplitude[:, None] ** 2
    covariance += noise[:, :, None] * np.eye(len(samples.relative))
    log_prior = model.log_prior[settings % len(AMPLITUDES)]
    return contamination.Setting(
        covariance, amplitude, log_prior, model.spread, samples.relative, view.means
    )


def _standing(
    model: MixtureGP, samples: Samples, early: contamination.Setting
) -> tuple[IntArray, list[contamination.Spikes]]:
    """The STANDING likeliest of all settings by the first samples, and one set of spikes by all.

    early: all settings, with the first WEIGHED samples.
    """
    spikes = contamination.likeliest(early.only(np.flatnonzero(_COARSE[_POINT])))
    evidence_of = logsumexp(contamination.Given.of(early, spikes).log_evidence, axis=1)
    settings = np.argsort(-evidence_of, kind="stable")[:STANDING]
    noises = np.flatnonzero((_COMPONENTS[settings[0]] == _COMPONENTS).all(1))
    spikes = contamination.likeliest(_setting(model, samples, noises), spikes)
    return np.union1d(settings, noises), [spikes]


def _weighed(
    setting: contamination.Setting,
    sets: list[contamination.Spikes],
    shares: FloatArray,
    components: FloatArray,
    noise: FloatArray,
) -> evidence.Weighed:
    """What is left with a share of the evidence. shares: (sets, P, J); components: (P, C); noise:
    (P,)."""
    parts = []
    for spikes, share in zip(sets, shares, strict=True):
        kept = np.flatnonzero(share.any(1))
        some = setting.only(kept)
        inverse, residuals = some.inverse(spikes), some.residuals(spikes)
        solved = inverse @ residuals
        parts.append((share[kept], inverse, solved, components[kept], some.amplitude, noise[kept]))
    return evidence.Weighed(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _mean_functions(real: FloatArray, analytic: FloatArray) -> FloatArray:
    """(M, J): each known device, their averages, and nothing."""
    groups = [group for group in (real, analytic) if group.shape[1]]
    averages = [group.mean(1, keepdims=True) for group in groups]
    both = [sum(averages, np.zeros((len(real), 1)))] if len(groups) > 1 else []
    return np.concatenate([*groups, *averages, *both, np.zeros((len(real), 1))], axis=1)


def _spreads(real: FloatArray, analytic: FloatArray, typical: float) -> FloatArray:
    """(J,): how differently networks run on what each of the mean functions is. real: (R,),
    virtual: (V,), of known devices."""
    groups = [group for group in (real, analytic) if len(group)]
    averages = [float(group.mean()) for group in groups]
    middle = float(np.mean(averages)) if averages else typical
    both = [middle] if len(groups) > 1 else []
    return np.concatenate([*groups, averages, both, [middle]])


def _amplitude_log_prior(spreads: FloatArray) -> FloatArray:
    """(A, J): a device has about the spread of what it is like. spreads: (J,), relative to the
    typical one; beyond AMPLITUDES, the nearest of them."""
    near = np.clip(spreads, AMPLITUDES.min(), AMPLITUDES.max())
    log_weight = -0.5 * (np.log(AMPLITUDES[:, None] / near) / AMPLITUDE_STD) ** 2
    return np.asarray(log_weight - logsumexp(log_weight, axis=0))


def _disagreement(view: Views) -> FloatArray:
    """(M, J), such that its inner products are the covariance of the mean functions."""
    apart = view.means - view.means.mean(1, keepdims=True)
    return np.asarray(apart / np.sqrt(view.means.shape[1]))


def _relevance(structure: FloatArray, real: FloatArray) -> FloatArray:
    """(S,), summing to 1: mean square coefficient of each structure column on the references.

    structure: (n, S), real: (n, R), both standardised. Every column keeps a fair part.
    """
    s = structure.shape[1]
    if not real.shape[1]:
        return np.full(s, 1 / max(s, 1))
    gram = structure.T @ structure + RELEVANCE_RIDGE * len(structure) * np.eye(s)
    squares = (np.linalg.solve(gram, structure.T @ real) ** 2).mean(1)
    squares += 0.3 * squares.mean()
    total = squares.sum()
    # Where all networks are alike nothing tells which column matters.
    return np.asarray(squares / total) if total > 0 else np.full(s, 1 / s)


def _log_std(roots: FloatArray, std: FloatArray | float) -> FloatArray:
    """(M,) log-seconds: half the distance in log-latency between a deviation up and one down."""
    return np.asarray(np.log(positive(roots + std)) - np.log(positive(roots - std)))


def _chunks(features: FloatArray, size: int) -> Iterator[FloatArray]:
    for start in range(0, max(len(features), 1), size):
        yield features[start : start + size]
