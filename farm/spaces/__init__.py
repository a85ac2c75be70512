"""Search spaces: families of networks, each network with one definition, its `Graph`."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Protocol

import numpy as np

from farm.errors import UnknownName
from farm.spaces.graph import Graph
from farm.types import Network

SPACES = {
    "nb201": "farm.spaces.nb201:NB201",
}
"""Where each search space is made, as module:callable. Loaded only when asked for."""


class SearchSpace(Protocol):
    """A family of networks. Every method is deterministic."""

    @property
    def name(self) -> str:
        """The key in `SPACES`."""

    @property
    def size(self) -> int:
        """How many networks there are."""

    def parse(self, text: str) -> Network:
        """The network that `text` writes, with the canonical code. Raises NetworkSyntaxError."""

    def sample(self, n: int, rng: np.random.Generator) -> list[Network]:
        """n distinct networks, uniformly. Raises ValueError if n is not in 0..size."""

    def neighbours(self, network: Network) -> list[Network]:
        """The networks that differ from `network` in one operation."""

    def graph(self, network: Network) -> Graph:
        """The definition of `network`."""


@cache
def space(name: str) -> SearchSpace:
    """The search space `name`. Raises UnknownName, which offers the nearest or lists all."""
    if name not in SPACES:
        raise UnknownName("search space", name, SPACES)
    module, _, make = SPACES[name].partition(":")
    made: SearchSpace = getattr(import_module(module), make)()
    return made
