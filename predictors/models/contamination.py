"""Samples that something disturbed: which of a few measurements are spikes, by evidence.

Most devices measure cleanly; some, such as a telephone that has other things to do, are slowed
down in one measurement of ten. Which samples those are is not known, so every set of them is a
hypothesis, and a disturbed sample has a mean shift and more noise (Box & Tiao, A Bayesian Approach
to Some Outlier Problems, Biometrika 1968, section 2). Given the set everything is normal; sets are
searched from the empty one on, by adding what raises the evidence most.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.optimize import brentq
from scipy.special import betaln, logsumexp
from scipy.stats import norm

from predictors import FloatArray, IntArray

SPIKE_MEAN = 0.15
SPIKE_STD = 0.15
"""Of the square root of latency relative to the median's: a third slower, give or take as much."""

RATE = 0.1
"""Share of the samples that are spikes, on a device that has any."""

DEVICES = 0.25
"""Share of the devices that have spikes."""

RATE_SAMPLES = 10.0
"""How many samples the expected rate counts for."""

BEAM = 3
"""Sets that are extended at each step of the search."""

MOST_STEPS = 6

FAR = 4.0
"""Log evidence behind the best set, from which on a set is not looked at."""

CLEAR = 5.0
"""Log evidence that each sample gains on its own, to be added together with others like it."""

Spikes = tuple[int, ...]
"""The samples that were disturbed, in ascending order."""


def log_prior(samples: int, spikes: int) -> float:
    """Log odds, beforehand, that just these `spikes` of `samples` were disturbed."""
    spiky = DEVICES * RATE**spikes * (1 - RATE) ** (samples - spikes)
    return float(np.log(spiky + (0.0 if spikes else 1 - DEVICES)))


def expected_rate(samples: int, spikes: int) -> float:
    """The share of future measurements that will be spikes, after so many."""
    spiky = 1.0
    if not spikes:
        spiky = DEVICES * (1 - RATE) ** samples / np.exp(log_prior(samples, 0))
    return float(spiky * (RATE * RATE_SAMPLES + spikes) / (RATE_SAMPLES + samples))


def noise_scale(noise_std: float, rate: float, unit: float, level: float = 0.95) -> float:
    """The standard deviation of the normal whose central interval of `level` holds as much as that
    of the noise: normal, but for the `rate` of spikes. unit: of a root, as SPIKE_MEAN has it."""
    mean, width = SPIKE_MEAN / unit, float(np.hypot(SPIKE_STD / unit, noise_std))

    def missed(half: float) -> float:
        clean = 2 * norm.cdf(half / noise_std) - 1
        disturbed = norm.cdf((half - mean) / width) - norm.cdf((-half - mean) / width)
        return float((1 - rate) * clean + rate * disturbed - level)

    half = brentq(missed, 0.0, mean + 10 * width + 10 * noise_std)
    return float(half / norm.ppf((1 + level) / 2))


@dataclass(frozen=True, eq=False)
class Setting:
    """Samples under P settings of a model, each a covariance with an amplitude.

    covariance: (P, n, n), noise included, in units of the amplitude squared.
    amplitude: (P,), by which samples are divided. log_prior: (P, J), of it with a mean function.
    unit: of a root, as SPIKE_MEAN has it.
    samples: (n,), of unit amplitude. means: (n, J), mean functions at the samples.
    """

    covariance: FloatArray
    amplitude: FloatArray
    log_prior: FloatArray
    unit: float
    samples: FloatArray
    means: FloatArray

    def only(self, settings: IntArray) -> Setting:
        """Some of the P settings."""
        chosen = self.covariance[settings], self.amplitude[settings], self.log_prior[settings]
        return Setting(*chosen, self.unit, self.samples, self.means)

    def residuals(self, spikes: Spikes) -> FloatArray:
        """(P, n, J), of the samples less what a spike adds on average."""
        cleaned = self.samples.copy()
        cleaned[list(spikes)] -= SPIKE_MEAN / self.unit
        return np.asarray(cleaned[:, None] / self.amplitude[:, None, None] - self.means)

    def inverse(self, spikes: Spikes) -> FloatArray:
        """(P, n, n), of the covariance where `spikes` have more noise."""
        return np.asarray(np.linalg.inv(self.disturbed(spikes)))

    def disturbed(self, spikes: Spikes) -> FloatArray:
        """(P, n, n), the covariance where `spikes` have more noise."""
        if not spikes:
            return self.covariance
        marked = np.zeros(len(self.samples))
        marked[list(spikes)] = (SPIKE_STD / self.unit) ** 2
        more = marked / self.amplitude[:, None] ** 2
        return np.asarray(self.covariance + more[:, :, None] * np.eye(len(marked)))


@dataclass(frozen=True, eq=False)
class Given:
    """All settings of `setting`, given which samples are spikes.

    precision: (P, n), diagonal of the inverse covariance. solved: (P, n, J), inverse times
    residuals. log_evidence: (P, J), with the log priors of the setting and of the spikes.
    """

    setting: Setting
    spikes: Spikes
    precision: FloatArray
    solved: FloatArray
    log_evidence: FloatArray

    @classmethod
    def of(cls, setting: Setting, spikes: Spikes) -> Given:
        """Rasmussen & Williams, equation 2.30, for all settings at once."""
        residuals, inverse = setting.residuals(spikes), setting.inverse(spikes)
        solved, n = inverse @ residuals, len(setting.samples)
        scale = -np.linalg.slogdet(inverse)[1]
        fit = np.einsum("pnj,pnj->pj", residuals, solved)
        scale = scale + 2 * n * np.log(setting.amplitude)
        log_evidence = -0.5 * (fit + scale[:, None] + n * np.log(2 * np.pi))
        log_evidence += setting.log_prior + log_prior(n, len(spikes))
        precision = np.einsum("pnn->pn", inverse)
        return cls(setting, spikes, precision, solved, log_evidence)

    @cached_property
    def total(self) -> float:
        """Log evidence of the spikes, over all settings and mean functions."""
        return float(logsumexp(self.log_evidence))

    def with_one_more(self) -> FloatArray:
        """(n,), `total` were that sample a spike as well; -inf where it is one.

        From leaving it out: what the others say of it is N(apart, variance), equation 5.12.
        """
        variance = 1 / self.precision[:, :, None]
        apart = self.solved * variance
        amplitude = self.setting.amplitude[:, None, None] * self.setting.unit
        wider = variance + (SPIKE_STD / amplitude) ** 2
        gain = np.log(variance / wider) + apart**2 / variance
        gain = 0.5 * (gain - (apart - SPIKE_MEAN / amplitude) ** 2 / wider)
        n, k = len(self.setting.samples), len(self.spikes)
        totals = logsumexp(self.log_evidence[:, None] + gain, axis=(0, 2))
        totals = totals + log_prior(n, k + 1) - log_prior(n, k)
        totals[list(self.spikes)] = -np.inf
        return np.asarray(totals)


def search(setting: Setting) -> list[Spikes]:
    """The likeliest sets of spikes, the empty one first; at most half of the samples each."""
    found: dict[Spikes, Given] = {(): Given.of(setting, ())}
    frontier, most = [found[()]], len(setting.samples) // 2
    for _ in range(min(MOST_STEPS, most)):
        best = max(given.total for given in found.values())
        following = _extensions(frontier, best - FAR)
        fresh = [s for s in following if s not in found and len(s) <= most]
        if not fresh:
            break
        frontier = [Given.of(setting, spikes) for spikes in fresh]
        found |= {given.spikes: given for given in frontier}
    best = max(given.total for given in found.values())
    return [s for s, given in found.items() if not s or given.total > best - FAR]


def likeliest(setting: Setting, known: Spikes = ()) -> Spikes:
    """One set for samples so many that it need not be averaged over: greedily from `known` on, all
    that gain half as much as the best one, as long as they gain together. The rate is as
    `expected_rate` has it."""
    given = Given.of(setting, known)
    for _ in range(2 * MOST_STEPS):
        now = given.total + _free_rate(given)
        gain = given.with_one_more() + _free_rate(given, 1) - now
        fresh = np.flatnonzero(gain >= max(gain.max() / 2, 0.0))
        added = Given.of(setting, tuple(sorted((*given.spikes, *map(int, fresh)))))
        if not len(fresh) or added.total + _free_rate(added) <= now:
            break
        given = added
    return given.spikes


def _free_rate(given: Given, more: int = 0) -> float:
    """What the log prior of the spikes, with so many more, changes by where their rate is not RATE
    but Beta distributed around it, as RATE_SAMPLES say."""
    n, k = len(given.setting.samples), len(given.spikes) + more
    a, b = RATE * RATE_SAMPLES, (1 - RATE) * RATE_SAMPLES
    spiky = np.log(DEVICES) + betaln(a + k, b + n - k) - betaln(a, b)
    free = spiky if k else np.logaddexp(spiky, np.log(1 - DEVICES))
    return float(free - log_prior(n, k))


def _extensions(frontier: list[Given], least: float) -> list[Spikes]:
    """The BEAM likeliest sets with one more spike, and those with all that are clear at once."""
    totals: dict[Spikes, float] = {}
    together: list[Spikes] = []
    for given in frontier:
        more = given.with_one_more()
        totals |= {tuple(sorted((*given.spikes, i))): float(t) for i, t in enumerate(more)}
        clear = np.flatnonzero(more > given.total + CLEAR)
        if len(clear) > 1:
            together.append(tuple(sorted((*given.spikes, *map(int, clear)))))
    likely = sorted((s for s, t in totals.items() if t > least), key=lambda s: -totals[s])
    return list(dict.fromkeys([*likely[:BEAM], *together]))
