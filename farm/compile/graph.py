"""An ONNX model as a plain graph: static shapes, constants known. No TVM."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from farm.compile.groups import Shape
from farm.core.errors import BuildError

VIEWS = {"Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"}
"""Operations that only give the memory of their first input another shape."""


@dataclass(frozen=True)
class Node:
    """An operation; `inputs` are names, empty where an optional input is left out."""

    op: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, Any]
    proto: Any

    @property
    def label(self) -> str:
        """How errors name it: the operator, and the node's name or else its output's."""
        return f"{self.op} {self.proto.name or self.output!r}"


@dataclass(frozen=True)
class Graph:
    """nodes: in an order in which they can run, and only those that the outputs need.

    inputs: the arguments, in order. shapes, dtypes: of every value, the latter as in NumPy.
    constants: values known now.
    """

    inputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    shapes: Mapping[str, Shape]
    dtypes: Mapping[str, str]
    constants: Mapping[str, np.ndarray]
    opset: Any

    def uses(self) -> dict[str, int]:
        """How often each value is read; to be an output counts as a read."""
        counts = dict.fromkeys(self.outputs, 1)
        for node in self.nodes:
            for name in node.inputs:
                counts[name] = counts.get(name, 0) + 1
        return counts


def read(model: onnx.ModelProto) -> Graph:
    """The graph of a prepared model. Raises BuildError for dynamic shapes and constant outputs."""
    graph = model.graph
    constants = constants_of(graph)
    outputs = tuple(value.name for value in graph.output)
    for output in outputs:
        if output in constants:
            raise BuildError(f"the output {output!r} is a constant, so there is nothing to run")
    every = [node for proto in graph.node for node in _nodes(proto)]
    nodes = _needed(every, outputs, constants)
    return Graph(
        inputs=tuple(value.name for value in graph.input),
        nodes=nodes,
        outputs=outputs,
        shapes=_shapes(graph, nodes, constants),
        dtypes=_dtypes(graph, constants),
        constants=constants,
        opset=model.opset_import,
    )


def constants_of(graph: Any) -> dict[str, np.ndarray]:
    """The values of an ONNX graph that are known, by name."""
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            (value,) = (helper.get_attribute_value(a) for a in node.attribute)
            array = numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value
            found[node.output[0]] = np.asarray(array)
    return found


def _nodes(proto: Any) -> list[Node]:
    """A node for each output of an operation."""
    attributes = {a.name: helper.get_attribute_value(a) for a in proto.attribute}
    outputs = filter(None, proto.output)
    return [Node(proto.op_type, tuple(proto.input), o, attributes, proto) for o in outputs]


def _needed(
    nodes: list[Node], outputs: tuple[str, ...], constants: Mapping[str, np.ndarray]
) -> tuple[Node, ...]:
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if node.output in wanted and node.output not in constants:
            # The shape that a view is given is known already.
            wanted.update(node.inputs[:1] if node.op in VIEWS else node.inputs)
            kept.append(node)
    return tuple(reversed(kept))


def _dtypes(graph: Any, constants: Mapping[str, np.ndarray]) -> dict[str, str]:
    values = [*graph.input, *graph.value_info, *graph.output]
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    names = {
        name: helper.tensor_dtype_to_np_dtype(number).name
        for name, number in types.items()
        if number
    }
    return names | {name: value.dtype.name for name, value in constants.items()}


def _shapes(
    graph: Any, nodes: tuple[Node, ...], constants: Mapping[str, np.ndarray]
) -> dict[str, Shape]:
    values = [*graph.input, *graph.value_info, *graph.output]
    shapes = {
        value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in values
    }
    shapes |= {name: value.shape for name, value in constants.items()}
    for node in nodes:
        if 0 in shapes.get(node.output, (0,)):
            raise BuildError(
                f"the shape of {node.output!r}, which {node.label} makes, is not known before the "
                "network runs; fix the input's size in the ONNX file"
            )
    return shapes
