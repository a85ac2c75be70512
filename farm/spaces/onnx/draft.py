"""A model on its way to normal form: its nodes, what is known of its values, and their shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from farm.core.errors import NetworkSyntaxError
from farm.spaces.onnx.export import IR_VERSION
from farm.spaces.onnx.shapes import refuse_large
from farm.spaces.ops import Shape

Array = NDArray[Any]

_CARRIED_ELEMENTS = 1024
"""Constants up to this size are shown to shape inference, which needs those that are shapes."""


@dataclass(frozen=True)
class ValueType:
    """elem_type: ONNX's number; 0 if it is not known. shape: None if it is not known."""

    elem_type: int
    shape: Shape | None


@dataclass
class Draft:
    """A model on its way to normal form.

    nodes: what is left to run, in an order in which it can.
    constants: what depends on no input. types: of everything else, as far as they are known.
    """

    opsets: Sequence[Any]
    sources: list[ValueInfoProto]
    outputs: list[str]
    nodes: list[NodeProto]
    constants: dict[str, Array]
    types: Mapping[str, ValueType]

    def shape_of(self, name: str) -> Shape | None:
        """The shape of a value, as far as it is known."""
        value = self.constants.get(name)
        return self.types.get(name, ValueType(0, None)).shape if value is None else value.shape


def draft_of(model: ModelProto) -> Draft:
    graph = model.graph
    constants = {tensor.name: _values(tensor) for tensor in graph.initializer}
    outputs = [value.name for value in graph.output]
    return Draft(model.opset_import, list(graph.input), outputs, list(graph.node), constants, {})


def _values(tensor: TensorProto) -> Array:
    try:
        values: Array = numpy_helper.to_array(tensor)
    except (ValueError, TypeError) as e:
        reason = " ".join(str(e).split())
        raise NetworkSyntaxError(f"the values of {tensor.name!r} cannot be read: {reason}") from e
    return values


def infer(draft: Draft) -> None:
    """Brings `types` up to date."""
    weights, carried = [], []
    for name, value in draft.constants.items():
        if value.size <= _CARRIED_ELEMENTS:
            carried.append(numpy_helper.from_array(value, name))
        else:
            kind = helper.np_dtype_to_tensor_dtype(value.dtype)
            weights.append(helper.make_tensor_value_info(name, kind, value.shape))
    inputs = [*draft.sources, *weights]
    outputs = [ValueInfoProto(name=name) for name in draft.outputs]
    graph = helper.make_graph(draft.nodes, "draft", inputs, outputs, carried)
    model = helper.make_model(graph, opset_imports=draft.opsets, ir_version=IR_VERSION)
    try:
        graph = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    except onnx.shape_inference.InferenceError as e:
        raise NetworkSyntaxError(f"its shapes do not fit: {' '.join(str(e).split())}") from e
    values = (*graph.output, *graph.value_info, *graph.input)
    draft.types = {value.name: _type(value) for value in values}
    for name, found in draft.types.items():
        refuse_large(name, found.shape or ())


def _type(value: ValueInfoProto) -> ValueType:
    kind = value.type.tensor_type
    known = kind.HasField("shape") and all(dim.HasField("dim_value") for dim in kind.shape.dim)
    shape = tuple(dim.dim_value for dim in kind.shape.dim) if known else None
    return ValueType(kind.elem_type, shape)


def domain_of(name: str) -> str:
    """ONNX's own domain has two names."""
    return "" if name == "ai.onnx" else name
