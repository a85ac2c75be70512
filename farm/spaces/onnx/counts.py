"""What a network costs, counted from its ONNX model: the counts of `counts`, for any operator.

A model that `export` or `normal` made: static shapes, weights as inputs. An operator
without a rule here is a kernel that reads and writes its activations, and no multiply-accumulate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from math import prod

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto

from farm.core.arguments import own_inputs, weights
from farm.spaces.counts import FLOAT32_BYTES, Counts
from farm.spaces.ops import Shape

_FREE = {
    "Constant",
    "ConstantOfShape",
    "Dropout",
    "Flatten",
    "Identity",
    "Reshape",
    "Shape",
    "Squeeze",
    "Unsqueeze",
}
"""Operators that move nothing: other shapes of the same memory, and values known beforehand."""

_ELEMENTWISE = {
    "Abs",
    "Add",
    "Cast",
    "Ceil",
    "Celu",
    "Clip",
    "Div",
    "Elu",
    "Erf",
    "Exp",
    "Floor",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "LeakyRelu",
    "Log",
    "Max",
    "Mean",
    "Min",
    "Mish",
    "Mul",
    "Neg",
    "PRelu",
    "Pow",
    "Reciprocal",
    "Relu",
    "Selu",
    "Sigmoid",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Sub",
    "Sum",
    "Tanh",
    "Where",
}
"""Operators that are fused into the kernel that makes one of their inputs."""


@dataclass(frozen=True)
class _View:
    """shapes: of every value. weights: names of the inputs after the network's own.

    activations: the network's inputs and what depends on them; the rest is known beforehand.
    """

    model: ModelProto
    shapes: Mapping[str, Shape]
    weights: frozenset[str]
    activations: frozenset[str]

    @classmethod
    def of(cls, model: ModelProto) -> _View:
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
        for value in (*graph.input, *graph.value_info, *graph.output):
            shapes[value.name] = tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
        learnt = frozenset(value.name for value in weights(model))
        return cls(model, shapes, learnt, _dependent(model))

    def runs(self, node: NodeProto) -> bool:
        """Whether a node has anything to do once the input is there."""
        return not self.activations.isdisjoint(node.input)

    def sizes(self, names: Sequence[str]) -> list[int]:
        """Elements of those of `names` that are activations."""
        return [prod(self.shapes[name]) for name in names if name in self.activations]


def _dependent(model: ModelProto) -> frozenset[str]:
    """The network's own inputs and all values that depend on them."""
    found = {value.name for value in own_inputs(model)}
    for node in model.graph.node:
        if not found.isdisjoint(node.input):
            found.update(name for name in node.output if name)
    return frozenset(found)


def count(model: ModelProto) -> Counts:
    """The counts of a whole network.

    A convolution's bias counts as the two parameters of the batch norm that nearly always was
    folded into it, as in `counts`. Products of matrices count as linear layers, also where both
    matrices are activations.
    """
    view = _View.of(model)
    biases = {node.input[2] for node in model.graph.node if _has_bias(node)} & view.weights
    parameters = sum(prod(view.shapes[name]) for name in [*view.weights, *biases])
    nodes = (_count_node(view, node) for node in model.graph.node if view.runs(node))
    return sum(nodes, Counts(parameters=parameters))


def count_vector(model: ModelProto) -> NDArray[np.float64]:
    """(len(COUNTS),): the counts of a whole network, in the order of `COUNTS`."""
    return np.array(astuple(count(model)), dtype=float)


def depth(model: ModelProto) -> int:
    """Kernels on the longest path from an input to an output; 0 if there is no path."""
    dependent = _dependent(model)
    depths = dict.fromkeys([value.name for value in model.graph.output], 0)
    for node in model.graph.node:
        if dependent.isdisjoint(node.input):
            continue
        before = max((depths.get(name, 0) for name in node.input), default=0)
        kernel = node.op_type not in _FREE | _ELEMENTWISE
        depths |= dict.fromkeys(node.output, before + kernel)
    return max(depths[value.name] for value in model.graph.output)


def _has_bias(node: NodeProto) -> bool:
    return node.op_type in ("Conv", "ConvTranspose") and len(node.input) > 2


def _count_node(view: _View, node: NodeProto) -> Counts:
    if node.op_type in _FREE:
        return Counts()
    read = view.sizes(node.input)
    if node.op_type in _ELEMENTWISE:
        # All terms but the largest are read; that one is in the registers of the kernel.
        return Counts(traffic_bytes=FLOAT32_BYTES * (sum(read) - max(read, default=0)))
    moved = sum(read) + sum(view.sizes(node.output))
    return Counts(kernels=1, traffic_bytes=FLOAT32_BYTES * moved) + _count_macs(view, node)


def _count_macs(view: _View, node: NodeProto) -> Counts:
    shapes = [view.shapes.get(name, ()) for name in node.input]
    outputs = prod(view.shapes[node.output[0]])
    attributes = {a.name: a.i for a in node.attribute}
    match node.op_type:
        case "Conv":
            kind = _conv_kind(attributes.get("group", 1), shapes[1])
            return Counts(**{kind: outputs * prod(shapes[1][1:])})
        case "ConvTranspose":
            kind = _conv_kind(attributes.get("group", 1), shapes[1])
            return Counts(**{kind: prod(shapes[0]) * prod(shapes[1][1:])})
        case "Gemm":
            return Counts(macs_linear=outputs * shapes[0][0 if attributes.get("transA") else 1])
        case "MatMul":
            return Counts(macs_linear=outputs * shapes[0][-1])
    return Counts()


def _conv_kind(groups: int, weight: Shape) -> str:
    """The count of a convolution; weight: (channels, channels of a group, kernel sizes...)."""
    if groups > 1:
        return "macs_depthwise" if weight[1] == 1 else "macs_grouped"
    return "macs_1x1" if prod(weight[2:]) == 1 else "macs_kxk"
