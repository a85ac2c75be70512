"""A graph as an ONNX model, for compilers and for onnxruntime.

Inference form: batch norm is folded into the convolution before it. Weights are inputs of the
model, not initializers, so that one compiled network serves any weights: the first input is
`input`, then come `Graph.weights` in their order. The same graph gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from farm.spaces import ops
from farm.spaces.batch import open_batch
from farm.spaces.graph import Node, Tensors
from farm.spaces.ops import Shape

OPSET = 17
"""Read by both TVM 0.27's `from_onnx` and onnxruntime 1.31."""

IR_VERSION = 8
"""The IR version that came with opset 17 (ONNX 1.12)."""


def to_onnx(graph: Tensors) -> ModelProto:
    """The ONNX model of `graph`: float32, static shapes but for the batch size."""
    nodes = [proto for node in graph.nodes for proto in _node(graph, node)]
    inputs = [_tensor(name, shape) for name, shape in graph.given.items()]
    for source in inputs:
        open_batch(source.type.tensor_type.shape.dim[0])
    inputs += [_tensor(weight.name, weight.shape) for weight in graph.weights]
    outputs = [_tensor(name, graph.shapes[name]) for name in graph.made]
    return helper.make_model(
        helper.make_graph(nodes, "network", inputs, outputs),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="latency-farm",
    )


def _tensor(name: str, shape: Shape) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _node(graph: Tensors, node: Node) -> Iterator[NodeProto]:
    """The ONNX nodes of one node of the graph; the last one's output carries the node's name."""
    x = list(node.inputs)
    weights = [weight.name for weight in graph.weights_of(node)]
    match node.op:
        case ops.Conv() as conv:
            yield helper.make_node(
                "Conv", x + weights, [node.name], **_window(conv), group=conv.groups
            )
        case ops.AvgPool() as pool:
            yield helper.make_node("AveragePool", x, [node.name], **_window(pool))
        case ops.BatchNorm():
            scaled = f"{node.name}_scaled"
            yield helper.make_node("Mul", [*x, weights[0]], [scaled])
            yield helper.make_node("Add", [scaled, weights[1]], [node.name])
        case ops.Relu():
            yield helper.make_node("Relu", x, [node.name])
        case ops.Add():
            yield helper.make_node("Add", x, [node.name])
        case ops.Linear():
            yield helper.make_node("Gemm", x + weights, [node.name])
        case ops.Zeros(shape):
            yield _int64s(f"{node.name}_shape", shape)
            yield helper.make_node("ConstantOfShape", [f"{node.name}_shape"], [node.name])
        case ops.GlobalAvgPool():
            yield helper.make_node("GlobalAveragePool", x, [f"{node.name}_mean"])
            yield helper.make_node("Flatten", [f"{node.name}_mean"], [node.name])
        case ops.ChannelShuffle(groups):
            yield from _shuffle(node.name, x, graph.shapes[node.name], groups)


def _window(op: ops.Conv | ops.AvgPool) -> dict[str, list[int]]:
    return {
        "kernel_shape": [op.kernel] * 2,
        "strides": [op.stride] * 2,
        "pads": [op.padding] * 4,
    }


def _shuffle(name: str, x: list[str], shape: Shape, groups: int) -> Iterator[NodeProto]:
    n, c, h, w = shape
    yield _int64s(f"{name}_split_shape", (n, groups, c // groups, h, w))
    yield helper.make_node("Reshape", [*x, f"{name}_split_shape"], [f"{name}_split"])
    yield helper.make_node(
        "Transpose", [f"{name}_split"], [f"{name}_transposed"], perm=[0, 2, 1, 3, 4]
    )
    yield _int64s(f"{name}_shape", shape)
    yield helper.make_node("Reshape", [f"{name}_transposed", f"{name}_shape"], [name])


def _int64s(name: str, values: Sequence[int]) -> NodeProto:
    """A constant node: an initializer would become an input of the compiled network."""
    value = numpy_helper.from_array(np.array(values, dtype=np.int64))
    return helper.make_node("Constant", [], [name], value=value)
