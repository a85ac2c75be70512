"""An ONNX operation that is written as simpler ones: what it is, and the parts so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, helper

from farm.compile.groups import Shape

Array = NDArray[Any]
Nodes = list[NodeProto]


@dataclass(frozen=True)
class Operator:
    """An operation to be written out, and the parts that it is written as.

    shapes, kinds: of its operands and its output, the latter as ONNX's numbers.
    constants: operands that are known. made: constants of the parts.
    """

    node: NodeProto
    attributes: Mapping[str, Any]
    shapes: Mapping[str, Shape]
    kinds: Mapping[str, int]
    constants: Mapping[str, Array]
    output: str
    opset: int
    made: dict[str, Array] = field(default_factory=dict)
    numbers: Any = field(default_factory=count)

    def input(self, position: int) -> str:
        """The name of an operand; empty if it is left out."""
        return self.node.input[position] if position < len(self.node.input) else ""

    def known(self, position: int) -> Array | None:
        return self.constants.get(self.input(position))

    def constant(self, value: Any, like: type[np.generic] | None = None) -> str:
        """The name of a new constant: float32, or of another type."""
        name = f"constant{next(self.numbers)}"
        self.made[name] = np.asarray(value, like or np.float32)
        return name

    def apply(self, nodes: Nodes, op: str, *inputs: str, **attributes: Any) -> str:
        """Adds a part to `nodes`; the name of what it makes."""
        name = f"part{next(self.numbers)}"
        nodes.append(helper.make_node(op, inputs, [name], **attributes))
        return name

    def done(self, nodes: Nodes) -> Nodes:
        """`nodes`, the last of which makes the output."""
        nodes[-1].output[0] = self.output
        return nodes

    def renamed(self, **changes: Any) -> Nodes:
        """The operation itself with other attributes; None for those that it shall not have."""
        attributes = {k: v for k, v in {**self.attributes, **changes}.items() if v is not None}
        node = helper.make_node(self.node.op_type, self.node.input, [self.output], **attributes)
        return [node]
