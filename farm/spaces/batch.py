"""The batch size at which a model is measured: its own, or the device's."""

from __future__ import annotations

from collections.abc import Iterator

from onnx import (
    ModelProto,
    NodeProto,
    TensorProto,
    ValueInfoProto,
    numpy_helper,
    shape_inference,
)
from onnx import TensorShapeProto as Shapes

from farm.core.arguments import dtype_name, own_inputs
from farm.core.errors import BuildError
from farm.core.values import GivenInput

_SHAPED = {"Reshape": 1, "ConstantOfShape": 0, "Expand": 1}
"""Operations that are told a shape, and which of their inputs tells it."""

_OPEN = "DATA_BATCH"
"""ONNX's word for an axis of independent images. Here: the device says how many there are."""


def open_batch(axis: Shapes.Dimension) -> None:
    """Leave the size of an input's first axis to the device that measures."""
    axis.denotation = _OPEN


def has_open_batch(model: ModelProto) -> bool:
    """Whether the device says how many images the inputs have; otherwise the model does."""
    return any(_open_axes(model))


def _open_axes(model: ModelProto) -> list[Shapes.Dimension]:
    """The first axes of the network's own inputs that are left to the device."""
    firsts = [value.type.tensor_type.shape.dim[:1] for value in own_inputs(model)]
    return [axis for axes in firsts for axis in axes if axis.denotation == _OPEN]


def given_inputs(model: ModelProto, batch: int) -> tuple[GivenInput, ...]:
    """What a network is measured with on a device of this batch size."""
    return tuple(_given(value, batch) for value in own_inputs(model))


def _given(value: ValueInfoProto, batch: int) -> GivenInput:
    kind = value.type.tensor_type
    shape = [batch if axis.denotation == _OPEN else axis.dim_value for axis in kind.shape.dim]
    return GivenInput(value.doc_string or value.name, dtype_name(kind.elem_type), tuple(shape))


def with_batch(model: ModelProto, batch: int) -> ModelProto:
    """`model` on a device that measures `batch` images at a time: a copy, if that changes it.

    model: as `SearchSpace.model` gives it. One that says itself how many images it takes stays as
    it is; any other is for a batch of one, and its constant shapes that begin with 1 are taken for
    shapes of a batch. Raises BuildError where its shapes do not fit then.
    """
    if all(axis.dim_value == batch for axis in _open_axes(model)):
        return model
    changed = ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    del graph.value_info[:]  # of the batch size before
    for axis in _open_axes(changed):
        axis.dim_value = batch
    for tensor in _shapes(changed):
        sizes = numpy_helper.to_array(tensor).copy()
        if sizes.ndim == 1 and sizes.size > 1 and sizes[0] == 1:
            sizes[0] = batch
            tensor.CopyFrom(numpy_helper.from_array(sizes, tensor.name))
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        inferred = shape_inference.infer_shapes(changed, strict_mode=True, data_prop=True)
    except shape_inference.InferenceError as error:
        reason = str(error).strip().splitlines()[-1]
        raise BuildError(f"the network does not take a batch of {batch}: {reason}") from error
    for value, found in zip(graph.output, inferred.graph.output, strict=True):
        value.CopyFrom(found)
    return changed


def _shapes(model: ModelProto) -> Iterator[TensorProto]:
    """The constants that tell an operation a shape."""
    names = {name for node in model.graph.node for name in _told(node)}
    for tensor in model.graph.initializer:
        if tensor.name in names:
            yield tensor
    for node in model.graph.node:
        if node.op_type == "Constant" and node.output[0] in names:
            yield from (attribute.t for attribute in node.attribute if attribute.name == "value")


def _told(node: NodeProto) -> list[str]:
    place = _SHAPED.get(node.op_type)
    return [] if place is None else list(node.input[place : place + 1])
