"""Search spaces: families of networks, each network with one definition, its `Graph`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from farm.errors import NetworkSyntaxError, UnknownName
from farm.spaces.codes import quoted
from farm.spaces.graph import Graph
from farm.types import Network

SPACES = {
    "nb201": "farm.spaces.nb201:NB201",
    "fbnet": "farm.spaces.fbnet:fbnet",
    "fbnet32": "farm.spaces.fbnet:fbnet32",
}
"""Where each search space is made, as module:callable. Loaded only when asked for."""


class SearchSpace(Protocol):
    """A family of networks. Every method is deterministic.

    Methods that take networks raise NetworkSyntaxError on one whose code the space cannot read.
    """

    @property
    def name(self) -> str:
        """The space's key in `SPACES`."""

    @property
    def size(self) -> int:
        """How many networks there are; `sample(size, rng)` is all of them, where that fits."""

    def parse(self, text: str) -> Network:
        """The network that `text` writes, with its canonical code. Raises NetworkSyntaxError."""

    def sample(self, n: int, rng: np.random.Generator) -> list[Network]:
        """n distinct networks, uniformly. Raises ValueError if n is not in 0..size."""

    def neighbours(self, network: Network) -> list[Network]:
        """The networks that differ from `network` in one operation."""

    def graph(self, network: Network) -> Graph:
        """The definition of `network`."""

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the columns of `features`, all different."""

    def features(self, networks: Sequence[Network]) -> NDArray[np.float64]:
        """What a latency predictor sees: (N, len(feature_names)) float64, not standardised."""


@cache
def space(name: str) -> SearchSpace:
    """The search space `name`. Raises UnknownName, which offers the nearest or lists all."""
    if name not in SPACES:
        raise UnknownName("search space", name, SPACES)
    module, _, make = SPACES[name].partition(":")
    made: SearchSpace = getattr(import_module(module), make)()
    return made


def parse_network(text: str) -> Network:
    """The network of an id, SPACE/CODE, or of a bare NAS-Bench-201 cell string.

    Raises UnknownName for the space and NetworkSyntaxError for the code.
    """
    text = text.strip()
    if text.startswith("|"):
        return space("nb201").parse(text)
    name, slash, code = text.partition("/")
    if not slash:
        raise NetworkSyntaxError(
            f"a network is SPACE/CODE, with SPACE one of {', '.join(SPACES)}, "
            f"or a NAS-Bench-201 cell string, got {quoted(text)}"
        )
    return space(name).parse(code)
