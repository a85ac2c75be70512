"""Which kernels networks call, as the compiler would have it, without compiling."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from farm.compile import alone
from farm.core.errors import BuildError
from farm.core.values import Network, digest
from farm.spaces import space
from farm.spaces.base import SearchSpace
from farm.spaces.batch import with_batch
from farm.spaces.onnx.export import to_onnx
from farm.spaces.segments import Segment, segments

if TYPE_CHECKING:
    import onnx

Planned = tuple[dict[str, str], dict[Network, dict[str, int]]]
"""Definitions of kernels by code, and how often each network that can be planned calls each."""


def plan(
    models: Mapping[str, bytes] | None, name: str, networks: Sequence[Network], batch: int
) -> Planned:
    """What networks of a search space call.

    models: the imported ONNX files, as for `farm.spaces.space`.
    """
    searched = space(name, models)
    same = getattr(searched, "representatives", list)(networks)
    plans = _Plans(searched, batch)
    found = {}
    for network in dict.fromkeys(same):
        try:
            found[network] = dict(plans.of(network))
        except BuildError:
            continue  # it says so itself when it is built
    pairs = zip(networks, same, strict=True)
    return plans.definitions, {network: found[one] for network, one in pairs if one in found}


@cache
def planner() -> str:
    """16 hex digits for everything that says which kernels a network calls."""
    root = Path(__file__).parent.parent
    names = ("fuse", "graph", "groups", "prepare", "alone")
    files = [
        *(root / "compile" / f"{n}.py" for n in names),
        *sorted((root / "spaces").rglob("*.py")),
    ]
    return digest([sha256(path.read_bytes()).hexdigest() for path in files])[:16]


class _Plans:
    """What was planned so far: a segment of many networks is planned once.

    definitions: of the kernels, by code.
    """

    def __init__(self, searched: SearchSpace, batch: int) -> None:
        self.definitions: dict[str, str] = {}
        self._searched = searched
        self._batch = batch
        self._codes: dict[alone.Kernel, str] = {}
        self._segments: dict[Segment, Counter[str]] = {}

    def of(self, network: Network) -> Counter[str]:
        """How often a network calls each kernel, by its code. Raises BuildError."""
        graph = getattr(self._searched, "graph", None)
        if graph is None:
            return self._called(self._searched.model(network))
        counts = Counter[str]()
        for segment, times in Counter(segments(graph(network))).items():
            if segment not in self._segments:
                self._segments[segment] = self._called(to_onnx(segment))
            for code, n in self._segments[segment].items():
                counts[code] += n * times
        return counts

    def _called(self, model: onnx.ModelProto) -> Counter[str]:
        return Counter(map(self._code, alone.calls_of(with_batch(model, self._batch))))

    def _code(self, kernel: alone.Kernel) -> str:
        if kernel not in self._codes:
            self._codes[kernel] = code = alone.name_of(kernel)
            self.definitions[code] = alone.definition(kernel)
        return self._codes[kernel]
