"""HWL: a network as its normalised latencies on reference devices (Multi-Predict, section 3.2).

Few networks were measured on the references; for all others the values are predicted by a
Gaussian process for each device on what is known of the network's structure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from predictors import FloatArray
from predictors.encodings.normalisation import TrainingRows

CLIP = 4.0
"""Standard deviations; what is further off is a spike or a network that does nothing."""

SMALLEST_ROOT = 0.02
"""Square roots of latency below this share of the median's bend away from zero."""


def root(values: FloatArray) -> FloatArray:
    """The square root of latencies or costs: between the scale where costs add up and the one
    where noise is even, and finite at zero, where networks without a path to their output are."""
    return np.asarray(np.sqrt(np.maximum(values, 0.0)))


def positive(roots: FloatArray) -> FloatArray:
    """The same for roots well above zero, and positive and in the same order below."""
    return np.asarray((roots + np.sqrt(roots**2 + SMALLEST_ROOT**2)) / 2)


def clipped(values: FloatArray) -> FloatArray:
    """Limited to CLIP standard deviations."""
    return np.asarray(np.clip(values, -CLIP, CLIP))


@dataclass(frozen=True, eq=False)
class Normalisation:
    """The only way from seconds to HWL values, for R reference devices:

    (sqrt(latency / unit_s) - mean) / scale, limited to CLIP.

    unit_s, mean, scale: (R,) float64; of the last two also the spread of square roots there.
    Fitted once; what is encoded later is encoded by the same numbers. Values are rounded to single
    precision, so that a network has the same ones whatever is encoded beside it: matrix products
    differ in the last digits of double precision.
    """

    unit_s: FloatArray
    mean: FloatArray
    scale: FloatArray

    @classmethod
    def fit(cls, latency_s: FloatArray) -> Normalisation:
        """Mean 0 and deviation 1 over (n, R) seconds; NaN where one is not known.

        unit_s is each device's median. A device that takes the same for all has scale 1.
        """
        unit_s = np.nanmedian(latency_s, axis=0)
        roots = root(latency_s / unit_s)
        spread = np.nanstd(roots, axis=0)
        return cls(unit_s, np.nanmean(roots, axis=0), np.where(spread > 0, spread, 1.0))

    @classmethod
    def none(cls, devices: int) -> Normalisation:
        """Square roots of seconds: where too little is known to fit one."""
        return cls(np.ones(devices), np.zeros(devices), np.ones(devices))

    def values(self, latency_s: FloatArray) -> FloatArray:
        """(N, R) seconds -> (N, R) values, float64; NaN stays NaN."""
        found = clipped((root(latency_s / self.unit_s) - self.mean) / self.scale)
        return found.astype(np.float32).astype(np.float64)

    def latency_s(self, values: FloatArray) -> FloatArray:
        """The inverse of `values`, for values within CLIP."""
        return np.asarray(self.unit_s * np.maximum(self.mean + self.scale * values, 0.0) ** 2)

    def std(self, latency_s: FloatArray, log_std: FloatArray) -> FloatArray:
        """(N, R), of the values; NaN where it is not known, as of a latency of zero. log_std:
        (N, R), of the latencies, in log-seconds."""
        with np.errstate(invalid="ignore"):
            found = root(latency_s / self.unit_s) / 2 * log_std / self.scale
        return np.where(np.isfinite(found), found, np.nan)

    def log_std(self, latency_s: FloatArray, std: FloatArray) -> FloatArray:
        """The inverse of `std`; infinite where a latency is zero."""
        with np.errstate(divide="ignore"):
            return np.asarray(2 * std * self.scale / root(latency_s / self.unit_s))

    @classmethod
    def together(cls, each: Sequence[Normalisation]) -> Normalisation:
        """Of the devices of several, in their order."""
        unit_s, mean, scale = (
            np.concatenate([np.empty(0), *(getattr(one, name) for one in each)])
            for name in ("unit_s", "mean", "scale")
        )
        return cls(unit_s, mean, scale)


@dataclass(frozen=True, eq=False)
class References:
    """Latencies that were measured on the reference devices, for a pool of N networks.

    latency_s: (N, R) float64, seconds; NaN where nothing was measured.
    devices: (R,) names.
    rows: the networks that a model may learn from; all other latencies are masked.

    Raises ValueError for a latency that is not positive, or a device without any.
    """

    latency_s: FloatArray
    devices: tuple[str, ...]
    rows: TrainingRows

    def __post_init__(self) -> None:
        training = self.latency_s[self.rows.indices]
        if (training <= 0).any() or np.isinf(training).any():
            raise ValueError("`latency_s` must be positive seconds, or NaN where not measured")
        empty = [d for d, y in zip(self.devices, training.T, strict=True) if np.isnan(y).all()]
        if empty:
            raise ValueError(
                f"reference {empty[0]!r} has no measured training network; leave it out"
            )

    def without(self, target: str) -> None:
        """Raises ValueError if `target` is one of the references: it would predict itself."""
        if target in self.devices:
            raise ValueError(
                f"target {target!r} is among its own references; take it out of the references"
            )

    @property
    def mask(self) -> FloatArray:
        """(N, R), 1 where a latency is measured and may be learnt from."""
        mask = np.zeros(self.latency_s.shape)
        mask[self.rows.indices] = np.isfinite(self.latency_s[self.rows.indices])
        return mask


@dataclass(frozen=True, eq=False)
class HardwareLatencies:
    """The encoding of all networks.

    values: (N, R) float64, by the `Normalisation` of the training rows. All of them are predicted,
    so that a model is told no more of the networks that it learns from than of others.
    mask: (N, R), 1 where measured. latency_s: (N, R), seconds, measured or predicted.
    spread: (R,), standard deviation over the training rows of the square root of latency
    relative to its median: how differently networks run there.
    std: (N, R), of what is predicted, in the unit of `values`, where it was asked for; 0 where
    measured.
    """

    devices: tuple[str, ...]
    values: FloatArray
    mask: FloatArray
    latency_s: FloatArray
    spread: FloatArray
    std: FloatArray | None = None

    @classmethod
    def of(
        cls, references: References, structure: FloatArray, with_std: bool = False
    ) -> HardwareLatencies:
        """From a few measured networks and the structure (N, S) of all; `with_std` takes longer."""
        # SciPy, which a normalisation alone does without.
        from predictors.models.surrogate import deviations, predict_columns

        rows, mask = references.rows.indices, references.mask
        measured = Normalisation.fit(references.latency_s[rows])
        seen = measured.values(references.latency_s[rows])
        predicted_s = measured.latency_s(predict_columns(structure, rows, seen))
        own = Normalisation.fit(predicted_s[rows])
        latency_s = np.where(mask == 1, references.latency_s, predicted_s)
        std = None
        if with_std:
            per_value = measured.scale * np.sqrt(measured.unit_s / own.unit_s) / own.scale
            std = deviations(structure, rows, seen) * per_value * (1 - mask)
        values = own.values(predicted_s)
        return cls(references.devices, values, mask, latency_s, measured.scale, std)
