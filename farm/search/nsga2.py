"""NSGA-II over the networks of a search space, by pymoo."""

from __future__ import annotations

from typing import Any

import numpy as np

from farm.core.extras import of_extra
from farm.core.values import Network
from farm.search.strategies import POPULATION, Evaluated, Looking


def nsga2(looking: Looking, n: int, rng: np.random.Generator) -> list[Network]:
    """Sorts a population into fronts, keeps the best and most spread, and changes one operation.

    Deb et al., A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II, IEEE Trans. Evol.
    Comp. 2002, without crossover, since a space says what a network's neighbours are and not how
    two of them are mixed. Raises MissingExtra.
    """
    with of_extra("search"):
        from pymoo.algorithms.moo.nsga2 import NSGA2
        from pymoo.core.crossover import Crossover
        from pymoo.core.duplicate import ElementwiseDuplicateElimination
        from pymoo.core.mutation import Mutation
        from pymoo.core.problem import Problem
        from pymoo.optimize import minimize

    done = Evaluated(looking, n)
    first = looking.space.sample(min(POPULATION, n), rng)

    class Networks(Problem):  # type: ignore[misc]
        def _evaluate(self, x: Any, out: dict[str, Any], *_: Any, **__: Any) -> None:
            networks = [row[0] for row in x]
            done.add(networks)
            # What comes after the last evaluation is not looked at any more.
            out["F"] = np.array([done.objectives.get(one, (np.inf, np.inf)) for one in networks])

    class Copies(Crossover):  # type: ignore[misc]
        def _do(self, _: Any, x: Any, **__: Any) -> Any:
            return x

    class OneOperation(Mutation):  # type: ignore[misc]
        def _do(self, _: Any, x: Any, **__: Any) -> Any:
            around = [looking.space.neighbours(row[0]) for row in x]
            return column([one[rng.integers(len(one))] for one in around])

    class Same(ElementwiseDuplicateElimination):  # type: ignore[misc]
        def is_equal(self, a: Any, b: Any) -> bool:
            return bool(a.X[0] == b.X[0])

    algorithm = NSGA2(
        pop_size=len(first),
        sampling=column(first),
        crossover=Copies(2, 2),
        mutation=OneOperation(),
        eliminate_duplicates=Same(),
    )
    seed = int(rng.integers(2**31))
    minimize(Networks(n_var=1, n_obj=2), algorithm, ("n_eval", n), seed=seed, verbose=False)
    return done.networks


def column(networks: list[Network]) -> Any:
    """(N, 1) of objects."""
    made = np.empty((len(networks), 1), object)
    made[:, 0] = networks
    return made
