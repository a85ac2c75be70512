"""A model for another batch size."""

from __future__ import annotations

from collections.abc import Iterator

from onnx import ModelProto, NodeProto, TensorProto, numpy_helper, shape_inference

from farm.core.errors import BuildError

_SHAPED = {"Reshape": 1, "ConstantOfShape": 0, "Expand": 1}
"""Operations that are told a shape, and which of their inputs tells it."""


def with_batch(model: ModelProto, batch: int) -> ModelProto:
    """`model` for inputs of `batch` images: a copy, unless that is the batch size it has.

    model: as `SearchSpace.model` gives it, for a batch of one. Constant shapes that begin with 1
    are taken for shapes of a batch. Raises BuildError for a model whose shapes do not fit then.
    """
    if model.graph.input[0].type.tensor_type.shape.dim[0].dim_value == batch:
        return model
    changed = ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    del graph.value_info[:]  # of the batch size before
    for value in (graph.input[0], *graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = batch
    for tensor in _shapes(changed):
        sizes = numpy_helper.to_array(tensor).copy()
        if sizes.ndim == 1 and sizes.size > 1 and sizes[0] == 1:
            sizes[0] = batch
            tensor.CopyFrom(numpy_helper.from_array(sizes, tensor.name))
    try:
        shape_inference.infer_shapes(changed, strict_mode=True, data_prop=True)
    except shape_inference.InferenceError as error:
        reason = str(error).strip().splitlines()[-1]
        raise BuildError(f"the network does not take a batch of {batch}: {reason}") from error
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
