"""What a search space is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from farm.core.values import Network
from farm.spaces.graph import Graph

if TYPE_CHECKING:
    import onnx


ONNX = "onnx"
"""The space of imported ONNX files: not in `SPACES`, as each store has files of its own."""


class SearchSpace(Protocol):
    """A family of networks. Every method is deterministic.

    Methods that take networks raise NetworkSyntaxError on one whose code the space cannot read.
    """

    @property
    def name(self) -> str:
        """What `space` knows it by."""

    @property
    def size(self) -> int:
        """How many networks there are; `sample(size, rng)` is all of them, where that fits."""

    def parse(self, text: str) -> Network:
        """The network that `text` writes, with its canonical code. Raises NetworkSyntaxError."""

    def sample(self, n: int, rng: np.random.Generator) -> list[Network]:
        """n distinct networks, uniformly. Raises ValueError if n is not in 0..size."""

    def model(self, network: Network) -> onnx.ModelProto:
        """What is compiled: float32, static shapes, one output; inputs are the network's, then
        its weights."""

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the columns of `features`, all different."""

    def features(self, networks: Sequence[Network]) -> NDArray[np.float64]:
        """What a latency predictor sees: (N, len(feature_names)) float64, not standardised."""


class GraphSpace(SearchSpace, Protocol):
    """A search space that writes its networks down, so that it can change them."""

    def graph(self, network: Network) -> Graph:
        """The definition of `network`, from which its model is derived."""

    def neighbours(self, network: Network) -> list[Network]:
        """The networks that differ from `network` in one operation."""

    def representatives(self, networks: Sequence[Network]) -> list[Network]:
        """For each network one that has its graph, and that is the same for all that have it."""
