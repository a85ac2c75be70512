"""The one definition of a network: a small frozen graph that knows no framework.

A search space writes a network down as `Value`s, starting from `INPUT`:

    x = apply(Conv(16, 3), INPUT)
    graph = build((1, 3, 32, 32), apply(Relu(), x))

`build` keeps what the output needs, in an order and with names that depend on the structure
alone: two networks that need the same operations are equal graphs. The ONNX model and the torch
module are derived from the graph.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from farm.core.arguments import INPUT_NAME
from farm.spaces.ops import Op, Shape


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor of a network that is being written down.

    Two values are the same tensor only if they are the same object: two convolutions that look
    alike have weights of their own.
    """

    op: Op | None
    inputs: tuple[Value, ...] = ()


INPUT = Value(None)
"""The input of every network."""


def apply(op: Op, *inputs: Value) -> Value:
    """The tensor that `op` makes of `inputs`."""
    return Value(op, inputs)


@dataclass(frozen=True)
class Node:
    """An operation and the names of the tensors that it reads; its own name is its output's."""

    name: str
    op: Op
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class Weight:
    """A weight of the inference form, batch norm folded."""

    name: str
    shape: Shape


class Tensors(ABC):
    """What nodes make of what they are given: shapes and weights.

    nodes: in an order in which they can run; all of them are needed.
    """

    nodes: tuple[Node, ...]

    @property
    @abstractmethod
    def given(self) -> Mapping[str, Shape]:
        """The shapes of the inputs, by name."""

    @property
    @abstractmethod
    def made(self) -> tuple[str, ...]:
        """The names of the nodes whose tensors are the outputs."""

    @cached_property
    def shapes(self) -> Mapping[str, Shape]:
        """The shape of every tensor, the inputs' included, by name."""
        shapes = dict(self.given)
        for node in self.nodes:
            # mypy cannot see that a node has as many inputs as its operation takes.
            out_shape: Any = node.op.out_shape
            shapes[node.name] = out_shape(*(shapes[name] for name in node.inputs))
        return shapes

    def weights_of(self, node: Node) -> tuple[Weight, ...]:
        """The weights that `node` takes, after its inputs."""
        shapes = node.op.weights(*(self.shapes[name] for name in node.inputs))
        return tuple(Weight(f"{node.name}_{part}", shape) for part, shape in shapes.items())

    @cached_property
    def weights(self) -> tuple[Weight, ...]:
        """All weights, in node order: the order in which every derived form takes them."""
        return tuple(weight for node in self.nodes for weight in self.weights_of(node))


@dataclass(frozen=True)
class Graph(Tensors):
    """A network.

    input_shape: (N, C, H, W).
    output: the name of the node that is the network's output.
    """

    input_shape: Shape
    nodes: tuple[Node, ...]
    output: str

    @property
    def given(self) -> Mapping[str, Shape]:
        return {INPUT_NAME: self.input_shape}

    @property
    def made(self) -> tuple[str, ...]:
        return (self.output,)


def build(input_shape: Shape, output: Value) -> Graph:
    """The graph of what `output` needs; nodes are named by kind and position.

    Depth-first from the output; of a node's inputs, the one farthest from the network's input
    first, and constants last. So neither the order in which values were written down nor values
    that nobody reads can be told from the graph, and little is computed long before it is needed.
    """
    heights = {INPUT: 1}
    names = {INPUT: INPUT_NAME}
    nodes: list[Node] = []

    def height(value: Value) -> int:
        if value not in heights:
            below = max((height(source) for source in value.inputs), default=0)
            heights[value] = below + 1 if below else 0
        return heights[value]

    def visit(value: Value) -> None:
        if value in names or value.op is None:
            return
        for source in sorted(value.inputs, key=height, reverse=True):
            visit(source)
        names[value] = f"{value.op.kind}{len(nodes)}"
        nodes.append(Node(names[value], value.op, tuple(names[v] for v in value.inputs)))

    visit(output)
    return Graph(input_shape, tuple(nodes), names[output])
