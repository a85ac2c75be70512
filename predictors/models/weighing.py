"""Samples of one device on several scales: all settings, weighed against each other by evidence.

Which samples were disturbed is told on the first scale (`predictors.models.contamination`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from predictors import FloatArray, IntArray
from predictors.models import contamination, evidence
from predictors.models.scales import Scale, Views

WEIGHED = 60
"""Samples that all settings are weighed by. More only decide between what these leave standing:
time grows with the cube of the samples, for each setting."""

STANDING = 12
"""So many of a scale's settings are conditioned on more samples, and the likeliest at every noise,
by which spikes are told: with too little of it, noise is taken for them."""


@dataclass(frozen=True, eq=False)
class Samples:
    """What was measured of one device, on one scale. view: of the n networks.

    relative: (n,), latencies as `Scale.relative` has them; own_noise: (n,), variances known of each
    beside that of the grid, in typical spreads squared; log_slope: (n,), as `Scale` has it.
    """

    scale: Scale
    view: Views
    relative: FloatArray
    own_noise: FloatArray
    log_slope: FloatArray

    @classmethod
    def of(
        cls, scale: Scale, features: FloatArray, latency: FloatArray, noise_std: FloatArray
    ) -> Samples:
        """features: (n, F), latency: (n,), relative to their unit, noise_std: (n,) log-seconds."""
        relative, slope = scale.relative(latency), scale.log_slope(latency)
        own_noise = (scale.exponent * latency**scale.exponent * noise_std / scale.spread) ** 2
        return cls(scale, scale.view(features), relative, own_noise, slope)

    def first(self, n: int) -> Samples:
        """The first n of them, or all where there are fewer."""
        parts = self.relative[:n], self.own_noise[:n], self.log_slope[:n]
        return Samples(self.scale, self.view.first(n), *parts)

    def setting(self, settings: IntArray) -> contamination.Setting:
        """Some of the grid's settings: (P,)."""
        grid, view = self.scale.grid, self.view
        amplitude = grid.amplitude(settings)
        covariance = np.tensordot(grid.components(settings), view.kernels(view), 1)
        noise = grid.noise_of(settings)[:, None] + self.own_noise / amplitude[:, None] ** 2
        covariance += noise[:, :, None] * np.eye(len(self.relative))
        log_prior = self.scale.log_prior[settings % len(self.scale.log_prior)]
        unit = self.scale.known.typical
        return contamination.Setting(
            covariance, amplitude, log_prior, unit, self.relative, view.means
        )

    def log_evidence(
        self, setting: contamination.Setting, sets: Sequence[contamination.Spikes]
    ) -> FloatArray:
        """(sets, P, J), of the latencies' logarithms: on any scale of the same."""
        each = [contamination.Given.of(setting, spikes).log_evidence for spikes in sets]
        return np.asarray(np.stack(each) + self.log_slope.sum())


@dataclass(frozen=True, eq=False)
class Share:
    """What is left of one scale. share: of all evidence.

    noise_variance: of one sample, averaged, in typical spreads squared. rate: of spikes among
    samples that are still to come.
    """

    samples: Samples
    share: float
    weighed: evidence.Weighed
    collapsed: evidence.Collapsed
    noise_variance: float
    rate: float

    @classmethod
    def of(
        cls,
        samples: Samples,
        settings: IntArray,
        setting: contamination.Setting,
        sets: Sequence[contamination.Spikes],
        shares: FloatArray,
    ) -> Share:
        """settings: (P,), which ones `setting` is of. shares: (sets, P, J)."""
        grid, share = samples.scale.grid, float(shares.sum())
        own, noise, components = shares / share, grid.noise_of(settings), grid.components(settings)
        parts = []
        for spikes, each in zip(sets, own, strict=True):
            kept = np.flatnonzero(each.any(1))
            some = setting.only(kept)
            inverse, residuals = some.inverse(spikes), some.residuals(spikes)
            known = inverse, inverse @ residuals, components[kept], some.amplitude, noise[kept]
            parts.append((each[kept], *known))
        weighed = evidence.Weighed(*(np.concatenate(part) for part in zip(*parts, strict=True)))
        n = len(samples.relative)
        rates = [contamination.expected_rate(n, len(spikes)) for spikes in sets]
        variance = float(own.sum((0, 2)) @ (noise * setting.amplitude**2))
        rate = float(own.sum((1, 2)) @ rates)
        return cls(samples, share, weighed, evidence.Collapsed.of(weighed), variance, rate)

    def predict(self, features: FloatArray, joint: bool) -> tuple[FloatArray, FloatArray]:
        """Mean (M,) and variance (M,), or covariance (M, M), of the relative root, less 1, in
        typical spreads."""
        view = self.samples.scale.view(features)
        own = view.kernels(view) if joint else view.diagonals()
        mean, spread = self.collapsed.predict(view.means, self.samples.view.kernels(view), own)
        return self._roots(mean), self._bent(spread, mean, mean if joint else None)

    def covariance(self, a: FloatArray, b: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """(A, F), (B, F) -> the same covariance, (A, B), and the means, (A,) and (B,)."""
        views = [self.samples.scale.view(features) for features in (a, b)]
        first, second = ((view.means, self.samples.view.kernels(view)) for view in views)
        found = self.collapsed.covariance(first, second, views[0].kernels(views[1]))
        means = [self.collapsed.mean_of(*each) for each in (first, second)]
        return self._bent(found, *means), self._roots(means[0]), self._roots(means[1])

    def draw(
        self, features: FloatArray, draws: int, rng: np.random.Generator
    ) -> tuple[FloatArray, FloatArray]:
        """(draws, M) relative roots, less 1, and samples of them, (draws, M), without spikes."""
        view = self.samples.scale.view(features)
        between = self.samples.view.kernels(view)
        found = self.weighed.draw(view.means, between, view.kernels(view), draws, rng)
        return self._roots(found[0]), self._roots(found[1])

    def _roots(self, relative: FloatArray) -> FloatArray:
        return self.samples.scale.roots(relative)

    def _bent(
        self, spread: FloatArray, first: FloatArray, second: FloatArray | None = None
    ) -> FloatArray:
        """The variance (M,) or covariance (A, B) of roots, from that on the scale; to first
        order."""
        scale = self.samples.scale
        if not scale.sums:
            return spread
        slopes = [
            1 / (1 + scale.known.typical * scale.roots(mean))
            for mean in (first, first if second is None else second)
        ]
        return spread * (slopes[0] ** 2 if second is None else np.outer(*slopes))


def weigh(samples: Sequence[Samples]) -> list[Share]:
    """The same samples on each scale. What is left with a share of the evidence; shares sum to
    1."""
    if len(samples[0].relative) > WEIGHED:
        standing, sets = _standing(samples)
    else:
        standing = [(own, own.scale.grid.settings) for own in samples]
        sets = []
    settings = [own.setting(which) for own, which in standing]
    if not sets:
        sets = contamination.search(settings[0].only(samples[0].scale.grid.coarse_settings))
    logs = [
        own.log_evidence(setting, sets)
        for (own, _), setting in zip(standing, settings, strict=True)
    ]
    shares = evidence.without_negligible(evidence.softmax(np.concatenate(logs, axis=1)))
    ends = np.cumsum([each.shape[1] for each in logs])[:-1]
    return [
        Share.of(own, which, setting, sets, share)
        for (own, which), setting, share in zip(
            standing, settings, np.split(shares, ends, axis=1), strict=True
        )
        if share.any()
    ]


def _standing(
    samples: Sequence[Samples],
) -> tuple[list[tuple[Samples, IntArray]], list[contamination.Spikes]]:
    """For each scale that the first samples leave a share, the STANDING likeliest of its settings,
    and one set of spikes by all samples."""
    first = [own.first(WEIGHED) for own in samples]
    settings = [own.setting(own.scale.grid.settings) for own in first]
    spikes = contamination.likeliest(settings[0].only(samples[0].scale.grid.coarse_settings))
    sets = list(dict.fromkeys([(), spikes]))
    logs = [
        logsumexp(own.log_evidence(setting, sets), axis=(0, 2))
        for own, setting in zip(first, settings, strict=True)
    ]
    total = np.logaddexp.reduce(np.concatenate(logs))
    kept = [
        (own, _likeliest(own.scale, log))
        for own, log in zip(samples, logs, strict=True)
        if logsumexp(log) - total > np.log(evidence.NEGLIGIBLE)
    ]
    own, (_, noises) = kept[0]
    known = spikes if own is samples[0] else ()
    spikes = contamination.likeliest(own.setting(noises), known)
    return [(own, np.union1d(*which)) for own, which in kept], [spikes]


def _likeliest(scale: Scale, log_evidence: FloatArray) -> tuple[IntArray, IntArray]:
    """Of all settings, the STANDING likeliest, and the likeliest one at every noise and amplitude
    that its components are the same with."""
    settings = np.argsort(-log_evidence, kind="stable")[:STANDING]
    components = scale.grid.components(scale.grid.settings)
    return settings, np.flatnonzero((components == components[settings[0]]).all(1))
