"""Search spaces: families of networks, each network with one definition."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module

from farm.core.errors import NetworkSyntaxError, UnknownName
from farm.core.values import Network
from farm.spaces.base import ONNX, SearchSpace
from farm.spaces.codes import quoted

SPACES = {
    "nb201": "farm.spaces.nb201.space:NB201",
    "fbnet": "farm.spaces.fbnet:fbnet",
    "fbnet32": "farm.spaces.fbnet:fbnet32",
}
"""Where each search space is made, as module:callable. Loaded only when asked for."""


def space(name: str, models: Mapping[str, bytes] | None = None) -> SearchSpace:
    """The search space `name`. Raises UnknownName, which offers the nearest or lists all.

    models: the imported ONNX files by their codes (`farm.store.StoredModels`), which are all
        that the space `onnx` has.
    """
    if name != ONNX:
        return _made(name)
    from farm.spaces.onnx.files import OnnxFiles

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
