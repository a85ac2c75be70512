"""Which devices tell most about the others: a greedy choice of reference devices.

Each step takes the device with which a linear model on the chosen ones' HWL values leaves least of
all devices' variance. The model is fitted on every other network and judged on those between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from predictors import FloatArray, IntArray, metrics


@dataclass(frozen=True)
class Step:
    """One more reference device.

    device: its number. explained: the share of variance that the chosen ones predict of the other
    devices, on average. spearman: how well they rank networks there, on average. worst: the number
    of the device that they predict worst, and the share there; None where no other is left.
    """

    device: int
    explained: float
    spearman: float
    worst: tuple[int, float] | None


FEWEST = 10
"""Networks without which a choice would be by chance."""


def choose(values: FloatArray, size: int) -> list[Step]:
    """values: (N, D), HWL of N networks on D devices. size: how many devices to choose.

    Raises ValueError for fewer than FEWEST networks, and for a size that is not in 1..D.
    """
    networks, devices = values.shape
    if networks < FEWEST:
        raise ValueError(f"a choice needs {FEWEST} networks of all devices, got {networks}")
    if not 1 <= size <= devices:
        raise ValueError(f"`size` must be 1 to {devices}, the number of devices, got {size}")
    chosen: list[int] = []
    steps = []
    for _ in range(size):
        left = [device for device in range(devices) if device not in chosen]
        chosen.append(_best(values, chosen, left))
        steps.append(_step(values, chosen))
    return steps


def _best(values: FloatArray, chosen: Sequence[int], left: Sequence[int]) -> int:
    """The device after which least is left of all others; the first of equals."""
    after = [_explained(values, [*chosen, one]).sum() for one in left]
    return left[int(np.argmax(after))]


def _explained(values: FloatArray, chosen: Sequence[int]) -> FloatArray:
    """(D,), the share of each device's variance; 1 of a chosen one."""
    judged = values[1::2]
    off = ((judged - _predicted(values, chosen)) ** 2).mean(0)
    variance = judged.var(0)
    share = 1 - off / np.where(variance > 0, variance, 1.0)
    share[list(chosen)] = 1.0
    return np.asarray(np.maximum(share, 0.0))


def _predicted(values: FloatArray, chosen: Sequence[int]) -> FloatArray:
    """(N // 2, D), of the networks that judge."""
    known = np.column_stack([values[:, list(chosen)], np.ones(len(values))])
    weights, *_ = np.linalg.lstsq(known[::2], values[::2], rcond=None)
    return np.asarray(known[1::2] @ weights)


def _step(values: FloatArray, chosen: Sequence[int]) -> Step:
    others = np.setdiff1d(np.arange(values.shape[1]), chosen)
    if not len(others):
        return Step(chosen[-1], 1.0, 1.0, None)
    share = _explained(values, chosen)[others]
    worst = int(np.argmin(share))
    ranks = _ranks(values, chosen, others)
    found = (int(others[worst]), float(share[worst]))
    return Step(chosen[-1], float(share.mean()), ranks, found)


def _ranks(values: FloatArray, chosen: Sequence[int], others: IntArray) -> float:
    predicted, judged = _predicted(values, chosen), values[1::2]
    each = [metrics.spearman(predicted[:, device], judged[:, device]) for device in others]
    return float(np.mean([rho for rho in each if rho is not None] or [0.0]))
