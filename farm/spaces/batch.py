"""The batch size at which a model is measured: its own, or the device's."""

from __future__ import annotations

from collections.abc import Iterator

from onnx import ModelProto, NodeProto, TensorProto, numpy_helper, shape_inference
from onnx import TensorShapeProto as Shapes

from farm.core.errors import BuildError
from farm.spaces.ops import Shape

_SHAPED = {"Reshape": 1, "ConstantOfShape": 0, "Expand": 1}
"""Operations that are told a shape, and which of their inputs tells it."""

_OPEN = "DATA_BATCH"
"""ONNX's word for an axis of independent images. Here: the device says how many there are."""


def open_batch(axis: Shapes.Dimension) -> None:
    """Leave the size of an input's first axis to the device that measures."""
    axis.denotation = _OPEN


def has_open_batch(model: ModelProto) -> bool:
    """Whether the device says how many images the input has; otherwise the model does."""
    axes = model.graph.input[0].type.tensor_type.shape.dim
    return bool(axes) and axes[0].denotation == _OPEN


def input_shape(model: ModelProto, batch: int) -> Shape:
    """The shape of what a network is measured with on a device of this batch size."""
    shape = _declared(model)
    return (batch, *shape[1:]) if has_open_batch(model) else shape


def _declared(model: ModelProto) -> Shape:
    return tuple(axis.dim_value for axis in model.graph.input[0].type.tensor_type.shape.dim)


def with_batch(model: ModelProto, batch: int) -> ModelProto:
    """`model` on a device that measures `batch` images at a time: a copy, if that changes it.

    model: as `SearchSpace.model` gives it. One that says itself how many images it takes stays as
    it is; any other is for a batch of one, and its constant shapes that begin with 1 are taken for
    shapes of a batch. Raises BuildError where its shapes do not fit then.
    """
    if input_shape(model, batch) == _declared(model):
        return model
    changed = ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    del graph.value_info[:]  # of the batch size before
    graph.input[0].type.tensor_type.shape.dim[0].dim_value = batch
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
