"""Search spaces: families of networks, each network with one definition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from farm.errors import NetworkSyntaxError, UnknownName
from farm.spaces.codes import quoted
from farm.spaces.graph import Graph
from farm.types import Network

if TYPE_CHECKING:
    import onnx

SPACES = {
    "nb201": "farm.spaces.nb201:NB201",
    "fbnet": "farm.spaces.fbnet:fbnet",
    "fbnet32": "farm.spaces.fbnet:fbnet32",
}
"""Where each search space is made, as module:callable. Loaded only when asked for."""

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


def space(name: str, models: Mapping[str, bytes] | None = None) -> SearchSpace:
    """The search space `name`. Raises UnknownName, which offers the nearest or lists all.

    models: the imported ONNX files by their codes (`farm.store.StoredModels`), which are all
        that the space `onnx` has.
    """
    if name != ONNX:
        return _made(name)
    from farm.spaces.onnx_files import OnnxFiles

    return OnnxFiles({} if models is None else models)


@cache
def _made(name: str) -> SearchSpace:
    if name not in SPACES:
        raise UnknownName("search space", name, [*SPACES, ONNX])
    module, _, make = SPACES[name].partition(":")
    made: SearchSpace = getattr(import_module(module), make)()
    return made


def parse_network(text: str, models: Mapping[str, bytes] | None = None) -> Network:
    """The network of an id, SPACE/CODE, or of a bare NAS-Bench-201 cell string.

    models: as in `space`. Raises UnknownName for the space and NetworkSyntaxError for the code.
    """
    text = text.strip()
    if text.startswith("|"):
        return space("nb201").parse(text)
    name, slash, code = text.partition("/")
    if not slash:
        raise NetworkSyntaxError(
            f"a network is SPACE/CODE, with SPACE one of {', '.join([*SPACES, ONNX])}, "
            f"a path to an .onnx file, or a NAS-Bench-201 cell string, got {quoted(text)}"
        )
    return space(name, models).parse(code)
