"""HWL: a network as its normalised latencies on reference devices (Multi-Predict, section 3.2).

Few networks were measured on the references; for all others the values are predicted by a
Gaussian process for each device on what is known of the network's structure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from predictors import FloatArray
from predictors.encodings.normalisation import Standardisation, TrainingRows
from predictors.models.surrogate import deviations, predict_columns

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

    values: (N, R) float64, standardised square roots of latency, predicted where not measured.
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
        rows, mask = references.rows.indices, references.mask
        median_s = np.nanmedian(references.latency_s[rows], axis=0)
        relative = root(references.latency_s[rows] / median_s)
        centre, spread = np.nanmean(relative, axis=0), np.nanstd(relative, axis=0)
        seen = clipped((relative - centre) / np.where(spread > 0, spread, 1.0))
        filled = predict_columns(structure, rows, seen)
        scaling = Standardisation.fit(filled, references.rows)
        predicted_s = median_s * np.maximum(centre + spread * filled, 0.0) ** 2
        latency_s = np.where(mask == 1, references.latency_s, predicted_s)
        std = None
        if with_std:
            std = deviations(structure, rows, seen) / scaling.scale * (1 - mask)
        return cls(references.devices, scaling.apply(filled), mask, latency_s, spread, std)
