"""What the farm's predictor believes of candidates on several devices, as a search asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from predictors import FloatArray, IntArray, Posterior


class OnDevice(Protocol):
    """The posterior of some candidates on one device."""

    def __call__(self, rows: IntArray, joint: bool) -> Posterior: ...


@dataclass(frozen=True, eq=False)
class Beliefs:
    """A `farm.search.verify.Belief` of `candidates` networks: the devices apart from each other.

    What a network takes beyond what models know of networks like it is repeatable for the most
    part, and what a search verifies is that network: so the noise counts as latency.
    """

    devices: Sequence[OnDevice]
    candidates: int

    @cached_property
    def mean(self) -> FloatArray:
        return np.stack([one.mean for one in self._all])

    @cached_property
    def std(self) -> FloatArray:
        return np.stack([np.hypot(one.std, one.noise_std) for one in self._all])

    def draws(self, rows: IntArray, n: int, seed: int) -> FloatArray:
        found = []
        for device, own in enumerate(self.devices):
            sampler = own(rows, True).sampler
            assert sampler is not None  # the farm's models have one
            found.append(sampler(n, seed + 1000 * device)[1])
        return np.stack(found)

    @cached_property
    def _all(self) -> list[Posterior]:
        return [own(np.arange(self.candidates), False) for own in self.devices]
