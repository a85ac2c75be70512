"""All strategies, by name."""

from __future__ import annotations

from farm.search.nsga2 import nsga2
from farm.search.strategies import (
    Strategy,
    exhaustive,
    local,
    random,
    regularised_evolution,
    warm_evolution,
)

STRATEGIES: dict[str, Strategy] = {
    "random": random,
    "exhaustive": exhaustive,
    "rea": regularised_evolution,
    "area": warm_evolution,
    "local": local,
    "nsga2": nsga2,
}
