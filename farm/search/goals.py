"""What a search is after, as a number for any set of networks, and what another one would add.

A network's `cost` is its latency relative to the limit, on the device where that is largest: at
most 1 where it holds the limit on all devices. Without a limit it is in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from farm.search import front
from farm.search.front import Corner
from predictors import FloatArray, IntArray


class Goal(Protocol):
    """cost: (S, n), S scenarios of what n networks cost; accuracy: (n,)."""

    @property
    def tolerance(self) -> float:
        """What may be missed of `value`, relative, where a search is done."""
        ...

    def value(self, cost: FloatArray, accuracy: FloatArray) -> FloatArray:
        """(S,), what a set of networks is worth; 0 for nothing."""
        ...

    def gains(
        self,
        known: FloatArray,
        known_accuracy: FloatArray,
        cost: FloatArray,
        accuracy: FloatArray,
    ) -> FloatArray:
        """(S, M), what each of M networks alone adds to those that are known, (S, n) or (1, n)."""
        ...

    def fitness(self, cost: FloatArray, accuracy: FloatArray) -> FloatArray:
        """(n,), how good each network is among them, the larger the better. cost: (n,)."""
        ...

    def chosen(self, cost: FloatArray, accuracy: FloatArray) -> IntArray:
        """Rows of the networks that a search comes to; none where none will do. cost: (n,)."""
        ...


class Reward(Protocol):
    """A number for each network, the larger the better."""

    def __call__(self, cost: FloatArray, accuracy: FloatArray) -> FloatArray:
        """cost: (..., n), accuracy: (n,) -> (..., n); -inf for one that will not do."""
        ...


@dataclass(frozen=True)
class Hard:
    """The accuracy where the limit T holds, and nothing otherwise: max ACC(m) s.t. LAT(m) <= T.

    Tan et al., MnasNet, CVPR 2019 (arXiv:1807.11626), equation 1.
    """

    def __call__(self, cost: FloatArray, accuracy: FloatArray) -> FloatArray:
        return np.where(cost <= 1, accuracy, -np.inf)


@dataclass(frozen=True)
class Soft:
    """ACC(m) (LAT(m) / T)^gamma: a limit T that may be exceeded for enough accuracy.

    Tan et al., MnasNet, CVPR 2019 (arXiv:1807.11626), equations 2 and 3 with alpha = beta = gamma;
    theirs is -0.07: twice the latency is worth 5 % more accuracy. Accuracies must be positive.
    """

    gamma: float = -0.07

    def __call__(self, cost: FloatArray, accuracy: FloatArray) -> FloatArray:
        return np.asarray(accuracy * cost**self.gamma)


@dataclass(frozen=True)
class Weighted:
    """ACC(m) - weight LAT(m) / T: so many points of accuracy are worth a whole limit T of latency.

    The scalarisation by a weighted sum, as Cai et al., ProxylessNAS, ICLR 2019 (arXiv:1812.00332),
    equation 6 have it in their loss.
    """

    weight: float

    def __call__(self, cost: FloatArray, accuracy: FloatArray) -> FloatArray:
        return np.asarray(accuracy - self.weight * cost)


@dataclass(frozen=True)
class Best:
    """The one network of largest reward. floor: the reward that counts as nothing."""

    reward: Reward
    floor: float
    tolerance: float = 0.001

    def value(self, cost: FloatArray, accuracy: FloatArray) -> FloatArray:
        found = self.reward(cost, accuracy).max(1, initial=self.floor)
        return np.asarray(found - self.floor)

    def gains(
        self,
        known: FloatArray,
        known_accuracy: FloatArray,
        cost: FloatArray,
        accuracy: FloatArray,
    ) -> FloatArray:
        best = self.floor + self.value(known, known_accuracy)[:, None]
        return np.asarray(np.maximum(self.reward(cost, accuracy) - best, 0.0))

    def fitness(self, cost: FloatArray, accuracy: FloatArray) -> FloatArray:
        return self.reward(cost, accuracy)

    def chosen(self, cost: FloatArray, accuracy: FloatArray) -> IntArray:
        found = self.reward(cost, accuracy)
        # Of equally good ones the cheapest.
        best = np.lexsort((cost, -found))[:1]
        return np.asarray(best[np.isfinite(found[best])], np.intp)


@dataclass(frozen=True)
class Pareto:
    """All networks that none beats in both, as large a hypervolume as can be.

    What another network adds is the hypervolume improvement (Emmerich, Giannakoglou & Naujoks,
    Single- and Multiobjective Evolutionary Optimization Assisted by Gaussian Random Field
    Metamodels, IEEE Trans. Evol. Comp. 2006); its mean over scenarios is the expected one.
    """

    corner: Corner
    tolerance: float = 0.01

    def value(self, cost: FloatArray, accuracy: FloatArray) -> FloatArray:
        return front.hypervolume(cost, accuracy, self.corner)

    def gains(
        self,
        known: FloatArray,
        known_accuracy: FloatArray,
        cost: FloatArray,
        accuracy: FloatArray,
    ) -> FloatArray:
        return front.gains(known, known_accuracy, cost, accuracy, self.corner)

    def fitness(self, cost: FloatArray, accuracy: FloatArray) -> FloatArray:
        """Less by one for each network that beats it (Fonseca & Fleming, Genetic Algorithms for
        Multiobjective Optimization, ICGA 1993)."""
        return -front.beaten_by(cost, accuracy)

    def chosen(self, cost: FloatArray, accuracy: FloatArray) -> IntArray:
        """The front, as far as it lies before the corner."""
        found = front.non_dominated(cost, accuracy)
        before = (cost[found] < self.corner.cost) & (accuracy[found] > self.corner.accuracy)
        return found[before]
