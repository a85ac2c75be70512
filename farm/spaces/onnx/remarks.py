"""What a person should know of an imported model, and of the latency that is told for it."""

from __future__ import annotations

from onnx import ModelProto, shape_inference

from farm.core.arguments import dtype_name
from farm.core.values import GivenInput
from farm.spaces.onnx.quantised import STEPS


def remarks(model: ModelProto) -> tuple[str, ...]:
    """In a sentence each. model: in normal form."""
    operators = {node.op_type for node in model.graph.node}
    found = []
    if not operators.isdisjoint(STEPS):
        found.append(
            "it is quantised, and measured with its sums in float32: a runtime with integer "
            "kernels has another latency"
        )
    return tuple(found)


def outputs(model: ModelProto) -> tuple[GivenInput, ...]:
    """Type and shape of each output, at a batch of one where that is open."""
    inferred = shape_inference.infer_shapes(model, data_prop=True)
    return tuple(
        GivenInput(
            value.name,
            dtype_name(value.type.tensor_type.elem_type),
            tuple(axis.dim_value for axis in value.type.tensor_type.shape.dim),
        )
        for value in inferred.graph.output
    )
