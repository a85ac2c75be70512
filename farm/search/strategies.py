"""Ways to look through a search space, all behind one small protocol.

    evaluated = regularised_evolution(looking, n=1000, rng=rng)

A strategy asks for objectives, and returns every network that it evaluated, in order: what is best
among them is said by the goal, and verified by measuring.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from farm.core.errors import UsageError
from farm.core.values import Network
from farm.search.goals import Goal
from farm.spaces.base import GraphSpace
from predictors import FloatArray

POPULATION, TOURNAMENT = 50, 10
"""Of `regularised_evolution`; those that Dong & Yang use for it, NAS-Bench-201, ICLR 2020."""

Score = Callable[[Sequence[Network]], FloatArray]
"""(N,), the larger the better."""


@dataclass(frozen=True, eq=False)
class Looking:
    """cost, accuracy: (N,) of any networks. proxy: what is cheap to ask of a network, and ranks
    somewhat as accuracy does."""

    space: GraphSpace
    cost: Score
    accuracy: Score
    goal: Goal
    proxy: Score | None = None


class Strategy(Protocol):
    """Networks that were evaluated, n at most, all different."""

    def __call__(self, looking: Looking, n: int, rng: np.random.Generator) -> list[Network]: ...


class Evaluated:
    """What was evaluated so far, each network once."""

    def __init__(self, looking: Looking, n: int) -> None:
        self._looking = looking
        self._left = n
        self._of: dict[Network, tuple[float, float]] = {}

    @property
    def full(self) -> bool:
        return self._left <= 0

    @property
    def objectives(self) -> dict[Network, tuple[float, float]]:
        """Cost and negative accuracy of each, both the less the better."""
        return {one: (cost, -accuracy) for one, (cost, accuracy) in self._of.items()}

    @property
    def networks(self) -> list[Network]:
        return list(self._of)

    def add(self, networks: Sequence[Network]) -> list[Network]:
        """Evaluate what is new, as far as that may be; those of all that are evaluated now."""
        new = [one for one in dict.fromkeys(networks) if one not in self._of][: self._left]
        if new:
            each = zip(self._looking.cost(new), self._looking.accuracy(new), strict=True)
            self._of.update(zip(new, ((float(c), float(a)) for c, a in each), strict=True))
            self._left -= len(new)
        return [one for one in networks if one in self._of]

    def fitness(self, networks: Sequence[Network]) -> FloatArray:
        """(N,), of evaluated networks, among each other."""
        cost, accuracy = np.array([self._of[one] for one in networks]).T
        return self._looking.goal.fitness(cost, accuracy)


def random(looking: Looking, n: int, rng: np.random.Generator) -> list[Network]:
    """Networks drawn uniformly (Li & Talwalkar, Random Search and Reproducibility for NAS, 2019).

    Under a hard limit, the most accurate of N by a proxy is NASWOT (Mellor et al., Neural
    Architecture Search without Training, ICML 2021, algorithm 1).
    """
    return looking.space.sample(min(n, looking.space.size), rng)


def exhaustive(looking: Looking, n: int, rng: np.random.Generator) -> list[Network]:
    """All networks. Raises UsageError for a space with more of them than may be evaluated."""
    if looking.space.size > n:
        raise UsageError(
            f"{looking.space.name} has {looking.space.size} networks, and {n} may be evaluated; "
            "raise --evaluations, or take another --strategy"
        )
    return looking.space.sample(looking.space.size, rng)


def regularised_evolution(looking: Looking, n: int, rng: np.random.Generator) -> list[Network]:
    """A population that loses its oldest: the best of a tournament changes in one operation.

    Real et al., Regularized Evolution for Image Classifier Architecture Search, AAAI 2019
    (arXiv:1802.01548), algorithm 1.
    """
    return _evolve(looking, n, rng, looking.space.sample(min(POPULATION, n), rng))


def warm_evolution(looking: Looking, n: int, rng: np.random.Generator) -> list[Network]:
    """Regularised evolution that begins with the best of many by a proxy: AREA.

    Mellor et al., Neural Architecture Search without Training, ICML 2021, section 4.4. Raises
    UsageError without a proxy.
    """
    if looking.proxy is None:
        raise UsageError("--strategy area starts from a proxy; name it by --warm-start, as nwot")
    drawn = looking.space.sample(min(2 * POPULATION, looking.space.size), rng)
    best = np.argsort(-looking.proxy(drawn), kind="stable")[: min(POPULATION, n)]
    return _evolve(looking, n, rng, [drawn[row] for row in best])


def _evolve(
    looking: Looking, n: int, rng: np.random.Generator, first: Sequence[Network]
) -> list[Network]:
    done = Evaluated(looking, n)
    population = done.add(first)
    stale = 0
    while not done.full and stale < n:
        rows = rng.integers(len(population), size=min(TOURNAMENT, len(population)))
        some = [population[row] for row in rows]
        parent = some[int(np.argmax(done.fitness(some)))]
        neighbours = looking.space.neighbours(parent)
        before = len(done.networks)
        child = done.add([neighbours[rng.integers(len(neighbours))]])
        stale = 0 if len(done.networks) > before else stale + 1
        population = [*population, *child][-POPULATION:]
    return done.networks


def local(looking: Looking, n: int, rng: np.random.Generator) -> list[Network]:
    """From a random network to its best neighbour, until none is better; then from another one.

    White, Nolen & Savani, Exploring the Loss Landscape in NAS, UAI 2021, algorithm 1.
    """
    done, stale = Evaluated(looking, n), 0
    while not done.full and stale < n:
        before = len(done.networks)
        at = done.add(looking.space.sample(1, rng))
        while at:
            around = [*at, *done.add(looking.space.neighbours(at[0]))]
            fitness = done.fitness(around)
            best = int(np.argmax(fitness))
            at = [around[best]] if fitness[best] > fitness[0] else []
        stale = 0 if len(done.networks) > before else stale + 1
    return done.networks
