"""Networks and latencies on the scales that `predictors.models.mixture_gp` averages over.

On the scale of square roots noise is even and most devices are smooth in what known ones say, but
sums are bent there. On that of latency itself, a device that adds up what a network's parts take is
linear in their costs: it is hardly noisy, and a few samples tell it throughout.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.special import logsumexp

from predictors import FloatArray, IntArray
from predictors.encodings.hwl import positive, root
from predictors.encodings.normalisation import Standardisation, TrainingRows
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

SUMS_NOISE = 1e-3
"""Variance of a sample, relative to the spread squared, of a device that adds up: who simulates or
estimates is hardly noisy. With more noise, all devices would be somewhat like that."""

SUMS_FEWER = 8.0
"""So much less likely beforehand is each of their settings than one of another device: most devices
do not add up, and where samples tell nothing, intervals should be as wide as those of the others.
"""


@dataclass(frozen=True, eq=False)
class Grid:
    """Settings that are averaged over: each of P points at each of AMPLITUDES.

    weights: (P, C), variances of the components of `Views.kernels` but the level; noise: (P,), of
    one sample; both relative to the device's spread squared. coarse: enough points to tell spikes
    by, none for a scale that does not. log_prior: of each setting.
    """

    weights: FloatArray
    noise: FloatArray
    coarse: IntArray
    log_prior: float = 0.0

    @property
    def settings(self) -> IntArray:
        """(S,), all of them, amplitudes of a point one after the other."""
        return np.arange(len(self.weights) * len(AMPLITUDES))

    @property
    def coarse_settings(self) -> IntArray:
        """Those of the coarse points."""
        return self.settings.reshape(-1, len(AMPLITUDES))[self.coarse].ravel()

    def components(self, settings: IntArray) -> FloatArray:
        """(S, C + 1), with the level."""
        level = LEVEL / self.amplitude(settings) ** 2
        return np.column_stack([self.weights[settings // len(AMPLITUDES)], level])

    def noise_of(self, settings: IntArray) -> FloatArray:
        """(S,)."""
        return self.noise[settings // len(AMPLITUDES)]

    def amplitude(self, settings: IntArray) -> FloatArray:
        """(S,)."""
        return AMPLITUDES[settings % len(AMPLITUDES)]


def _smooth_grid() -> Grid:
    """Linear in real and in analytic features, with a kernel that is additive in structure and,
    at half its variance each, two smooth ones."""
    points = np.array(
        list(
            product(
                (0.02, 0.15, 1.0), (0.02, 0.15, 1.0), (0.01, 0.05, 0.3), (0.004, 0.03, 0.2, 1.0)
            )
        )
    )
    real, analytic, structure, noise = points.T
    smooth = structure / 2
    coarse = np.flatnonzero((real == 0.15) & (analytic == 0.15))
    return Grid(np.stack([real, analytic, smooth, structure, smooth], axis=1), noise, coarse)


def _sums_grid() -> Grid:
    """Linear in latencies of known devices, in costs, and in structure, and nothing else."""
    points = np.array(list(product((0.0, 0.1), (0.1, 1.0), (0.0, 0.03, 0.3))))
    noise = np.full(len(points), SUMS_NOISE)
    return Grid(points, noise, np.empty(0, np.intp), -float(np.log(SUMS_FEWER)))


SMOOTH, SUMS = _smooth_grid(), _sums_grid()


@dataclass(frozen=True, eq=False)
class Views:
    """Networks as the parts of the model see them, scaled so that inner products are near 1.

    real (M, R), analytic (M, V), additive (M, S), structure (M, S), of which the last is not there
    where nothing is smooth; means (M, J): the mean functions, each of unit spread over the training
    rows.
    """

    real: FloatArray
    analytic: FloatArray
    additive: FloatArray
    structure: FloatArray | None
    means: FloatArray

    def kernels(self, other: Views) -> FloatArray:
        """(C + 1, A, B): linear in real and in analytic features, smooth in both, additive and
        smooth in structure, constant."""
        real, analytic = self.real @ other.real.T, self.analytic @ other.analytic.T
        additive, constant = self.additive @ other.additive.T, np.ones(real.shape)
        if self.structure is None or other.structure is None:
            return np.stack([real, analytic, additive, constant])
        mine = np.concatenate([self.real, self.analytic], axis=1)
        theirs = np.concatenate([other.real, other.analytic], axis=1)
        near = np.exp(-squared_distances(mine, theirs))
        alike = np.exp(-squared_distances(self.structure, other.structure) / 2)
        return np.stack([real, analytic, near, additive, alike, constant])

    def first(self, n: int) -> Views:
        """Of the first n networks."""
        structure = None if self.structure is None else self.structure[:n]
        parts = self.real[:n], self.analytic[:n], self.additive[:n]
        return Views(*parts, structure, self.means[:n])

    def diagonals(self) -> FloatArray:
        """(C + 1, M): the diagonals of `kernels(self)`."""
        ones = np.ones(len(self.means))
        linear = [(part**2).sum(1) for part in (self.real, self.analytic, self.additive)]
        if self.structure is None:
            return np.stack([*linear, ones])
        return np.stack([linear[0], linear[1], ones, linear[2], ones, ones])


@dataclass(frozen=True, eq=False)
class Known:
    """What a feature row (F,) is made of: values on real devices, analytic ones, structure.

    analytic: so many columns. spread: (R,), of the square root of latency on each real device,
    relative to its median; cost_spread: the same of as many of the first analytic columns as are
    costs that a device may go by alone.
    """

    analytic: int
    spread: FloatArray
    cost_spread: FloatArray

    @property
    def real(self) -> int:
        return len(self.spread)

    @property
    def typical(self) -> float:
        """How differently networks run on a device."""
        known = self.spread if len(self.spread) else self.cost_spread
        return float(np.median(known)) if len(known) else TYPICAL_SPREAD

    def squared(self, scaled: FloatArray) -> FloatArray:
        """Latencies and costs themselves, relative to typical ones, in place of standardised roots.
        Other analytic columns, which need not be costs, are left out."""
        spread = np.concatenate([self.spread, self.cost_spread])
        squares = np.maximum(1 + spread * scaled[:, : self._costs], 0.0) ** 2
        return np.concatenate([squares, scaled[:, self.real + self.analytic :]], axis=1)

    @property
    def _costs(self) -> int:
        return self.real + len(self.cost_spread)


@dataclass(frozen=True, eq=False)
class Scale:
    """One of the scales, over a pool of networks.

    grid: what is averaged over there. scaling: of each column over the training rows. squares: of
    `Known.squared`, on the scale of latency itself. mean_scaling: of the mean functions. relevance:
    (S,), how much each structure column matters on the references, summing to 1. log_prior: (A, J),
    of a setting of each amplitude for each mean function.
    """

    known: Known
    grid: Grid
    scaling: Standardisation
    squares: Standardisation | None
    mean_scaling: Standardisation
    relevance: FloatArray
    log_prior: FloatArray

    @classmethod
    def of(cls, known: Known, features: FloatArray, rows: TrainingRows, sums: bool) -> Scale:
        """features: (N, F)."""
        scaling, squares = Standardisation.fit(features, rows), None
        scaled = scaling.apply(features)
        if sums:
            scaled = known.squared(scaled)
            squares = Standardisation.fit(scaled, rows)
            scaled = squares.apply(scaled)
        real, costs = known.real, len(known.cost_spread)
        means = _mean_functions(scaled[:, :real], scaled[:, real : real + costs])
        structure = real + (costs if sums else known.analytic)
        relevance = _relevance(scaled[rows.indices, structure:], scaled[rows.indices, :real])
        spreads = _spreads(known.spread, known.cost_spread, known.typical) / known.typical
        grid = SUMS if sums else SMOOTH
        return cls(
            known,
            grid,
            scaling,
            squares,
            Standardisation.fit(means, rows),
            relevance,
            _amplitude_log_prior(spreads) + grid.log_prior,
        )

    @property
    def sums(self) -> bool:
        """Whether it is that of latency itself."""
        return self.squares is not None

    @property
    def exponent(self) -> float:
        """Of latency."""
        return 1.0 if self.sums else 0.5

    @property
    def spread(self) -> float:
        """Of a typical device on this scale."""
        return 2 * self.exponent * self.known.typical

    def view(self, features: FloatArray) -> Views:
        """Feature rows (M, F) as the parts of the model see them."""
        scaled = self.scaling.apply(features)
        if self.squares is not None:
            scaled = self.squares.apply(self.known.squared(scaled))
        count = len(self.known.cost_spread) if self.sums else self.known.analytic
        real, rest = scaled[:, : self.known.real], scaled[:, self.known.real :]
        analytic, structure = rest[:, :count], rest[:, count:]
        ruling = analytic[:, : len(self.known.cost_spread)]
        return Views(
            real / np.sqrt(max(real.shape[1], 1)),
            analytic / np.sqrt(max(count, 1)),
            structure * np.sqrt(self.relevance),
            None if self.sums else structure / np.sqrt(max(structure.shape[1], 1)),
            self.mean_scaling.apply(_mean_functions(real, ruling)),
        )

    def relative(self, latency: FloatArray) -> FloatArray:
        """Latencies relative to their unit -> deviations from it, in typical spreads."""
        return np.asarray((latency if self.sums else root(latency)) - 1) / self.spread

    def roots(self, relative: FloatArray) -> FloatArray:
        """The inverse, as square roots, less 1, in typical spreads of those."""
        if not self.sums:
            return relative
        return np.asarray(np.sqrt(positive(1 + self.spread * relative)) - 1) / self.known.typical

    def log_slope(self, latency: FloatArray) -> FloatArray:
        """Logarithm of how fast `relative` goes with the logarithm of latency, but for a term that
        all scales share: densities on different scales compare by it."""
        return np.asarray(self.exponent * np.log(np.maximum(latency, np.finfo(float).tiny)))


def _mean_functions(real: FloatArray, analytic: FloatArray) -> FloatArray:
    """(M, J): each known device, their averages, and nothing."""
    groups = [group for group in (real, analytic) if group.shape[1]]
    averages = [group.mean(1, keepdims=True) for group in groups]
    both = [sum(averages, np.zeros((len(real), 1)))] if len(groups) > 1 else []
    return np.concatenate([*groups, *averages, *both, np.zeros((len(real), 1))], axis=1)


def _spreads(real: FloatArray, analytic: FloatArray, typical: float) -> FloatArray:
    """(J,): how differently networks run on what each of the mean functions is. real: (R,),
    analytic: (A,), of known devices."""
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
