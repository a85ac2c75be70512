"""Few-shot latency predictors: encodings, models and acquisition.

A predictor sees arrays only: feature rows of networks, names of devices, latencies in seconds.
It knows no device, no store and no Ray, so that the campaign, a benchmark on published tables
and a notebook drive the same code:

    fitted = predictor.fit(observations)
    low_s, high_s = fitted.posterior(features, "pi4").interval_s()
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from farm.core.errors import UnknownName

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Observations:
    """Measured entries of the table networks x devices, in any order and any mix.

    features: (n, F) float64, the row of each entry's network.
    device: (n,) int, index into `devices`.
    latency_s: (n,) float64, seconds.
    devices: the devices that may be asked about, measured or not.
    noise_std: (n,) float64, log-seconds; what is known of each entry's own error, such as its
        interval's half-width / 1.96. A model adds the noise that it finds by itself. None where
        nothing is known, which is the same as zeros.

    Raises ValueError for shapes that do not fit and for values that are not finite and positive.
    """

    features: FloatArray
    device: IntArray
    latency_s: FloatArray
    devices: tuple[str, ...]
    noise_std: FloatArray | None = None

    def __post_init__(self) -> None:
        n = len(self.latency_s)
        if self.features.shape[:1] != (n,) or self.features.ndim != 2 or self.device.shape != (n,):
            raise ValueError(
                "`features` (n, F), `device` (n,) and `latency_s` (n,) must have equal n, got "
                f"{self.features.shape}, {self.device.shape} and {self.latency_s.shape}"
            )
        if not np.isfinite(self.features).all():
            raise ValueError("`features` must be finite; drop or fill the rows with NaN first")
        bad = self.latency_s[~(np.isfinite(self.latency_s) & (self.latency_s > 0))]
        if bad.size:
            raise ValueError(f"`latency_s` must be finite and positive, got {bad[0]!r}")
        if n and not (self.device.min() >= 0 and self.device.max() < len(self.devices)):
            raise ValueError(f"`device` must index the {len(self.devices)} names in `devices`")
        if self.own_noise_std.shape != (n,):
            raise ValueError(f"`noise_std` must be ({n},), got {self.own_noise_std.shape}")
        bad = self.own_noise_std[~(np.isfinite(self.own_noise_std) & (self.own_noise_std >= 0))]
        if bad.size:
            raise ValueError(f"`noise_std` must be finite and not negative, got {bad[0]!r}")

    @property
    def own_noise_std(self) -> FloatArray:
        """(n,) log-seconds: `noise_std`, 0 where nothing is known."""
        return np.zeros(len(self.latency_s)) if self.noise_std is None else self.noise_std

    @classmethod
    def none(cls, features: int, devices: Sequence[str]) -> Observations:
        """No entry at all: what is known before the first measurement."""
        empty = np.empty(0)
        return cls(np.empty((0, features)), empty.astype(np.intp), empty, tuple(devices))

    @classmethod
    def of_one(
        cls,
        device: str,
        features: FloatArray,
        latency_s: FloatArray,
        noise_std: FloatArray | None = None,
    ) -> Observations:
        """The entries of one device: features (n, F), latency_s (n,) seconds, noise_std (n,)."""
        return cls(features, np.zeros(len(latency_s), np.intp), latency_s, (device,), noise_std)

    def index(self, device: str) -> int:
        """The index of a device's name. Raises UnknownName."""
        if device not in self.devices:
            raise UnknownName("device", device, self.devices)
        return self.devices.index(device)


class Sampler(Protocol):
    """Draws what may be measured of the M networks of a posterior."""

    def __call__(self, draws: int, seed: int) -> tuple[FloatArray, FloatArray]:
        """(draws, M) latencies, and one measurement of each, (draws, M); log-seconds."""
        ...


@dataclass(frozen=True, eq=False)
class Posterior:
    """What is known of the latency of M networks on one device: normal in natural-log seconds.

    mean: (M,) float64, log-seconds.
    std: (M,) float64, log-seconds; of the latency itself, without the noise of measuring it.
    noise_std: (M,) float64, log-seconds; of one measurement around the latency.
    covariance: (M, M) float64, joint, where it was asked for.
    sampler: of a joint posterior that is a mixture of normals, which one normal only sums up.
    """

    mean: FloatArray
    std: FloatArray
    noise_std: FloatArray
    covariance: FloatArray | None = None
    sampler: Sampler | None = None

    @property
    def latency_s(self) -> FloatArray:
        """The median of the prediction, (M,) seconds."""
        return np.exp(self.mean)

    def interval_s(self, level: float = 0.95) -> tuple[FloatArray, FloatArray]:
        """Low and high ends, (M,) seconds each, that hold a new measurement with odds `level`."""
        half = NormalDist().inv_cdf((1 + level) / 2) * np.hypot(self.std, self.noise_std)
        return np.exp(self.mean - half), np.exp(self.mean + half)


class FittedPredictor(Protocol):
    """What a predictor knows after some observations. Fitted values are never changed."""

    def posterior(self, features: FloatArray, device: str, joint: bool = False) -> Posterior:
        """The posterior of networks `features` (M, F) on `device`; with covariance if `joint`.

        Raises UnknownName for a device that the observations do not name.
        """
        ...


class Predictor(Protocol):
    """A model with its settings, before any observation."""

    def fit(self, observations: Observations) -> FittedPredictor:
        """Learn from measured entries. Works from none or one on; equal input, equal output."""
        ...
