"""Every strategy against looking at all networks of a small space."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest

from farm.core.errors import UsageError
from farm.core.values import Network
from farm.search.front import Corner, non_dominated
from farm.search.goals import Best, Hard, Pareto, Soft, Weighted
from farm.search.strategies import Looking
from farm.search.ways import STRATEGIES


@dataclass
class Digits:
    """Networks of four digits of 0 to 3."""

    name = "digits"
    size = 256

    def all(self):
        return [Network("digits", "".join(code)) for code in product("0123", repeat=4)]

    def sample(self, n, rng):
        return [self.all()[row] for row in rng.permutation(self.size)[:n]]

    def neighbours(self, network):
        code = network.code
        changed = (code[:i] + d + code[i + 1 :] for i in range(4) for d in "0123" if d != code[i])
        return [Network("digits", one) for one in changed]


def cost(networks):
    return np.array([(1 + sum(map(int, n.code))) / 9 for n in networks])


def accuracy(networks):
    weights = np.array([1.0, 2.0, 3.0, 2.5])
    return np.array([float(weights @ np.sqrt(list(map(int, n.code)))) for n in networks])


def looking(goal):
    return Looking(Digits(), cost, accuracy, goal, proxy=cost)


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("pareto", [False, True])
def test_it_finds_what_looking_at_all_finds(name, pareto):
    goal = Pareto(Corner(2.0, 0.0)) if pareto else Best(Hard(), 0.0)
    n = 256 if name in ("exhaustive", "random") else 200
    found = STRATEGIES[name](looking(goal), n, np.random.default_rng(0))
    assert len(found) == len(set(found)) <= n
    every = Digits().all()
    if pareto:
        c, a = cost(every), accuracy(every)
        own = {(c[row], a[row]) for row in non_dominated(c, a)}
        pairs = set(zip(cost(found), accuracy(found), strict=True))
        assert len(own & pairs) >= 0.8 * len(own)
    else:
        best = max(a for a, c in zip(accuracy(every), cost(every), strict=True) if c <= 1)
        holds = cost(found) <= 1
        assert accuracy(found)[holds].max() == best


@pytest.mark.parametrize("reward", [Soft(), Weighted(3.0)])
@pytest.mark.parametrize("name", STRATEGIES)
def test_it_finds_the_largest_reward_of_all(name, reward):
    goal, every = Best(reward, 0.0), Digits().all()
    found = STRATEGIES[name](looking(goal), 256, np.random.default_rng(0))
    most = reward(cost(every), accuracy(every)).max()
    assert reward(cost(found), accuracy(found)).max() == most


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_same_seed_looks_at_the_same_networks(name):
    goal = Best(Hard(), 0.0)
    n = 256 if name == "exhaustive" else 40
    first, second = (STRATEGIES[name](looking(goal), n, np.random.default_rng(1)) for _ in range(2))
    assert first == second


def test_too_large_a_space_and_a_missing_proxy_are_refused():
    rng, goal = np.random.default_rng(0), Best(Hard(), 0.0)
    with pytest.raises(UsageError, match="digits has 256 networks, and 10 may be evaluated"):
        STRATEGIES["exhaustive"](looking(goal), 10, rng)
    with pytest.raises(UsageError, match="--warm-start"):
        STRATEGIES["area"](Looking(Digits(), cost, accuracy, goal), 10, rng)
