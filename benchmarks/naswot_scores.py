"""The proxy nwot of networks of NAS-Bench-201, kept in a file, and the search AREA by it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.report import kept, say
from farm.core.values import Network
from farm.search.goals import Best, Hard
from farm.search.strategies import Looking
from farm.search.ways import STRATEGIES
from farm.spaces.base import GraphSpace
from predictors import FloatArray

BATCH = 16
SEED = 0
"""Of the images, which are the same for all networks, and of each network's weights."""


def scored(networks: Sequence[Network], path: Path) -> dict[str, float]:
    """By code. path: JSON lines; what is not there is computed, a tenth of a second each, and
    added."""
    found: dict[str, float] = dict(kept(path))
    left = [one for one in networks if one.code not in found]
    if not left:
        return found
    import torch

    from farm.spaces.nb201.modules import every_edge
    from farm.spaces.nb201.space import parse_cell
    from predictors.encodings import zcp_pass

    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    images = torch.randn(BATCH, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    with path.open("a") as file:
        for number, network in enumerate(left, 1):
            torch.manual_seed(SEED)
            module = every_edge(parse_cell(network.code)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            found[network.code] = zcp_pass.nwot(module, images)
            file.write(json.dumps([network.code, found[network.code]]) + "\n")
            if number % 1000 == 0:
                file.flush()
                say(f"{number} of {len(left)} networks are scored")
    return found


@dataclass(frozen=True, eq=False)
class Pool:
    """The space, of which only networks with a score are drawn. score, accuracy: by code."""

    space: GraphSpace
    score: dict[str, float]
    accuracy: dict[str, float]

    @property
    def size(self) -> int:
        return len(self.score)

    def sample(self, n: int, rng: np.random.Generator) -> list[Network]:
        """n distinct networks, uniformly."""
        codes = list(self.score)
        return [
            Network(self.space.name, codes[row]) for row in rng.choice(self.size, n, replace=False)
        ]

    def neighbours(self, network: Network) -> list[Network]:
        """Of the whole space."""
        return self.space.neighbours(network)

    def best(self, strategy: str, n: int, seed: int) -> float:
        """Accuracy of the best of n networks that a strategy of the farm evaluates."""
        looking = Looking(
            self,  # type: ignore[arg-type]
            lambda networks: np.zeros(len(networks)),
            lambda networks: self._of(self.accuracy, networks),
            Best(Hard(), 0.0),
            lambda networks: self._of(self.score, networks),
        )
        found = STRATEGIES[strategy](looking, n, np.random.default_rng(seed))
        return float(self._of(self.accuracy, found).max())

    @staticmethod
    def _of(values: dict[str, float], networks: Sequence[Network]) -> FloatArray:
        return np.array([values[network.code] for network in networks])
