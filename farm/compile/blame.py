"""Which part of a network is to blame where its output is wrong. Pure but for what it is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from onnx import ModelProto

from farm.compile.fuse import FLOAT
from farm.compile.graph import Node, read

if TYPE_CHECKING:
    from onnx import ValueInfoProto

_NAMED = 6
"""Nodes of a section that a message names."""


def blame(model: ModelProto, works: Callable[[ModelProto], bool]) -> str:
    """Names the nodes between a value that is right and one that is wrong.

    model: prepared, and it does not work. works: whether a model, once compiled, computes what it
    should; it is asked for the network up to some of its values, by bisection.
    """
    graph = read(model)
    values = {value.name: value for value in model.graph.value_info}
    places = [
        place
        for place, node in enumerate(graph.nodes)
        if graph.dtypes.get(node.output) == FLOAT and node.output in values
    ]
    right, wrong = -1, len(places)
    while wrong - right > 1:
        middle = (right + wrong) // 2
        if works(_until(model, values[graph.nodes[places[middle]].output])):
            right = middle
        else:
            wrong = middle
    first = places[right] + 1 if right >= 0 else 0
    last = places[wrong] if wrong < len(places) else len(graph.nodes) - 1
    after = f"{graph.nodes[first - 1].output!r} is still right" if first else "from the input on"
    return f"{after}, not what follows: {_names(graph.nodes[first : last + 1])}"


def _until(model: ModelProto, output: ValueInfoProto) -> ModelProto:
    """The network up to one of its values."""
    shorter = ModelProto()
    shorter.CopyFrom(model)
    del shorter.graph.output[:]
    shorter.graph.output.append(output)
    return shorter


def _names(nodes: Sequence[Node]) -> str:
    labels = [node.label for node in nodes]
    more = f" and {len(labels) - _NAMED} more" if len(labels) > _NAMED else ""
    return ", ".join(labels[:_NAMED]) + more
