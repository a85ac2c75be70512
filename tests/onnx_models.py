"""Small ONNX models as other programs write them, with trained weights in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

Array = NDArray[Any]

OPSET = 17


def model(
    nodes: Sequence[NodeProto],
    initializers: Mapping[str, Array] | None = None,
    input_shape: Sequence[int | str] | None = (1, 4, 8, 8),
    opset: int = OPSET,
    **changes: Any,
) -> ModelProto:
    """A model from `x` to `y`. changes: other `inputs` or `outputs`, as value infos."""
    source = helper.make_tensor_value_info("x", TensorProto.FLOAT, input_shape)
    sink = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    tensors = [numpy_helper.from_array(value, name) for name, value in (initializers or {}).items()]
    inputs, outputs = changes.get("inputs", [source]), changes.get("outputs", [sink])
    graph = helper.make_graph(list(nodes), "exported", inputs, outputs, tensors)
    domains = {"", *(node.domain for node in nodes)}
    opsets = [helper.make_opsetid(domain, 1 if domain else opset) for domain in sorted(domains)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    # A file must say the rank of its output.
    inferred = onnx.shape_inference.infer_shapes(made, data_prop=True)
    for declared, found in zip(made.graph.output, inferred.graph.output, strict=True):
        declared.CopyFrom(found)
        declared.type.tensor_type.shape.SetInParent()
    return made


def batch_norm(name: str, channels: int, rng: np.random.Generator) -> dict[str, Array]:
    """Scale, shift, mean and variance, in the order of the operator's operands."""
    values = rng.normal(size=(3, channels)).astype(np.float32)
    variance = rng.uniform(0.5, 2, channels).astype(np.float32)
    return dict(zip([f"{name}.{part}" for part in "gbmv"], [*values, variance], strict=True))


def weights(channels: int = 8, seed: int = 0) -> dict[str, Array]:
    """What `cnn` has learnt."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> Array:
        return rng.normal(size=shape, scale=0.5).astype(np.float32)

    return {
        "conv.w": normal(channels, 3, 3, 3),
        **batch_norm("bn", channels, rng),
        **batch_norm("pre", channels, rng),
        "deep.w": normal(channels, 1, 3, 3),
        "deep.b": normal(channels),
        "fc.w": normal(5, channels),
        "fc.b": normal(5),
    }


def cnn(
    channels: int = 8,
    seed: int = 0,
    input_shape: Sequence[int | str] = (1, 3, 12, 12),
    strides: int = 2,
) -> ModelProto:
    """Batch norm after a convolution and on its own, a depthwise convolution, a residual sum, and
    a flattening that asks for the batch, as exporters of dynamic shapes write it."""
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "conv.w"], ["c"], "stem/Conv", strides=[strides] * 2, pads=[1] * 4),
        node("BatchNormalization", ["c", *[f"bn.{p}" for p in "gbmv"]], ["n"], epsilon=0.1),
        node("Relu", ["n"], ["r"]),
        node("BatchNormalization", ["r", *[f"pre.{p}" for p in "gbmv"]], ["p"], epsilon=0.1),
        node("Conv", ["p", "deep.w", "deep.b"], ["d"], group=channels, pads=[1] * 4),
        node("Add", ["d", "r"], ["s"]),
        node("GlobalAveragePool", ["s"], ["g"]),
        node("Shape", ["g"], ["g.shape"]),
        node("Gather", ["g.shape", "zero"], ["batch"], axis=0),
        node("Concat", ["batch", "rest"], ["flat.shape"], axis=0),
        node("Reshape", ["g", "flat.shape"], ["f"]),
        node("Gemm", ["f", "fc.w", "fc.b"], ["y"], transB=1),
    ]
    integers = {"zero": np.array([0]), "rest": np.array([-1])}
    return model(nodes, {**weights(channels, seed), **integers}, input_shape)
