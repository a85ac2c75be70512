"""Along one axis, resizing is a weighted sum of neighbours: which ones, and with what weights."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Axis:
    """What ONNX's `Resize` says of an axis; the names are those of its attributes.

    roi: where the part that is resized starts and ends, as shares of the axis.
    """

    size: int
    output: int
    scale: float
    mode: str = "nearest"
    coordinates: str = "half_pixel"
    nearest: str = "round_prefer_floor"
    cubic: float = -0.75
    antialias: bool = False
    exclude_outside: bool = False
    roi: tuple[float, float] | None = None

    def keeps(self) -> bool:
        """Whether every place of an output of the same size is its own place in the input."""
        return bool((self.places() == np.arange(self.size)).all())

    def places(self) -> Array:
        """(output,) float64: where each output lies in the input."""
        i, n, length = np.arange(self.output, dtype=float), self.size, self.output
        match self.coordinates:
            case "align_corners":
                return i * ((n - 1) / (length - 1) if length != 1 else 0)
            case "asymmetric":
                return i / self.scale
            case "tf_crop_and_resize":
                start, end = self.roi or (0.0, 1.0)
                step = (end - start) * (n - 1)
                inner = i * step / (length - 1) if length != 1 else i * 0 + step / 2
                return start * (n - 1) + inner
            case "pytorch_half_pixel" if length == 1:
                return i * 0 - 0.5
            case "half_pixel_symmetric":
                offset = n / 2 * (1 - length / (self.scale * n))
                return offset + (i + 0.5) / self.scale - 0.5
        return (i + 0.5) / self.scale - 0.5

    def outside(self) -> Array:
        """(output,) bool: which outputs have the value for what lies outside."""
        places = self.places()
        cropped = self.coordinates == "tf_crop_and_resize"
        return cropped & ((places < 0) | (places > self.size - 1))


def taps(axis: Axis) -> tuple[Array, Array]:
    """(T, output) int64 and (T, output) float64: the places that are summed, and their weights."""
    places = axis.places()
    if axis.mode == "nearest":
        nearest = _rounded(places, axis.nearest).clip(0, axis.size - 1)
        return nearest[None].astype(np.int64), np.ones((1, axis.output))
    first = np.floor(places)
    ratios = places - first
    weights = np.stack([_weights(axis, float(ratio)) for ratio in ratios], 1)
    found = first[None] + np.arange(len(weights))[:, None] - (len(weights) // 2 - 1)
    if axis.exclude_outside:
        weights = np.where((found < 0) | (found >= axis.size), 0, weights)
        weights /= weights.sum(0)
    return found.clip(0, axis.size - 1).astype(np.int64), weights


def _rounded(places: Array, how: str) -> Array:
    match how:
        case "floor":
            return np.floor(places)
        case "ceil":
            return np.ceil(places)
        case "round_prefer_ceil":
            return np.floor(places + 0.5)
    return np.ceil(places - 0.5)


def _weights(axis: Axis, ratio: float) -> Array:
    """(T,): of the neighbours of a place that lies by `ratio` behind the middle one's."""
    scale = min(axis.scale, 1.0) if axis.antialias else 1.0
    reach = 2 if axis.mode == "cubic" else 1
    start = floor(-reach / scale) + 1
    away = np.abs((np.arange(start, 2 - start) - ratio) * scale)
    weights = np.clip(1 - away, 0, 1) if reach == 1 else _cubic(away, axis.cubic)
    return weights / weights.sum() if axis.antialias else weights


def _cubic(away: Array, a: float) -> Array:
    """Keys 1981, equation 15."""
    near = ((a + 2) * away - (a + 3)) * away * away + 1
    far = ((a * away - 5 * a) * away + 8 * a) * away - 4 * a
    return np.where(away <= 1, near, np.where(away < 2, far, 0.0))
