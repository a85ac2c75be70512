"""An ONNX model as a device would run it: what depends on weights alone is a weight itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx
from onnx import TensorProto, helper, shape_inference

from farm.errors import BuildError

_FLOAT = TensorProto.FLOAT


def prepared(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same work with weights as inputs, after the network's own input.

    A network that is put to use has its batch norms folded into the convolutions before them, and
    every value that depends on weights alone is computed once, beforehand. Here such values become
    weights, seeded like all others: another function, but the same work. Initializers become
    inputs; inputs that nothing reads are left out. A network whose output depends on no input at
    all is left as it is. Raises BuildError for a model that is inconsistent.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    weights = _lift_initializers(result.graph)
    _fold_batch_norms(result.graph)
    shaped = _with_shapes(result)
    _replace_constants(shaped.graph, weights)
    _drop_unread_inputs(shaped.graph)
    return shaped


def _with_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    try:
        return shape_inference.infer_shapes(model, data_prop=True)
    except shape_inference.InferenceError as error:
        raise BuildError(f"the ONNX model is inconsistent: {error}") from error


def _lift_initializers(graph: Any) -> set[str]:
    """Makes float32 initializers inputs; the names of all weights.

    A model without such initializers has its weights as inputs already: all but the first.
    """
    lifted = [tensor for tensor in graph.initializer if tensor.data_type == _FLOAT]
    if not lifted:
        return {value.name for value in graph.input[1:]}
    for tensor in lifted:
        graph.initializer.remove(tensor)
        if tensor.name not in {value.name for value in graph.input}:
            graph.input.append(helper.make_tensor_value_info(tensor.name, _FLOAT, tensor.dims))
    return {tensor.name for tensor in lifted}


def _fold_batch_norms(graph: Any) -> None:
    """Batch norm disappears into the convolution before it, or becomes a scale and a shift."""
    producers = {node.output[0]: node for node in graph.node}
    reads = [name for node in graph.node for name in node.input]
    for node in [node for node in graph.node if node.op_type == "BatchNormalization"]:
        before = producers.get(node.input[0])
        if before is not None and before.op_type == "Conv" and reads.count(node.input[0]) == 1:
            _join(graph, before, node)
        else:
            _make_affine(graph, node)


def _join(graph: Any, conv: Any, norm: Any) -> None:
    if len(conv.input) < 3:
        conv.input.append(norm.input[2])  # the shift's shape is a bias's
    conv.output[0] = norm.output[0]
    graph.node.remove(norm)


def _make_affine(graph: Any, norm: Any) -> None:
    place = list(graph.node).index(norm)
    x, y = norm.input[0], norm.output[0]
    axes = f"{y}/axes"
    after = [
        helper.make_node("Constant", [], [axes], value_ints=[1, 2]),
        helper.make_node("Unsqueeze", [norm.input[1], axes], [f"{y}/scale"]),
        helper.make_node("Unsqueeze", [norm.input[2], axes], [f"{y}/shift"]),
        helper.make_node("Mul", [x, f"{y}/scale"], [f"{y}/scaled"]),
        helper.make_node("Add", [f"{y}/scaled", f"{y}/shift"], [y]),
    ]
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes[:place], *after, *nodes[place + 1 :]])


def _replace_constants(graph: Any, weights: set[str]) -> None:
    """Makes inputs of the values that depend on weights alone and that others read."""
    derived = _derived(graph.node, weights, {tensor.name for tensor in graph.initializer})
    if any(value.name in derived for value in graph.output):
        return
    kept = [node for node in graph.node if node.output[0] not in derived]
    read = dict.fromkeys(name for node in kept for name in node.input if name in derived)
    types = {value.name: value for value in graph.value_info}
    if not all(_is_plain(types.get(name)) for name in read):
        return
    del graph.node[:]
    graph.node.extend(kept)
    graph.input.extend(types[name] for name in read)


def _derived(nodes: Sequence[Any], weights: set[str], initializers: set[str]) -> set[str]:
    """Values that depend on weights, and on nothing but weights and constants."""
    constant = weights | initializers | {""}
    derived: set[str] = set()
    for node in nodes:
        if all(name in constant for name in node.input):
            constant.update(node.output)
            if any(name in weights or name in derived for name in node.input):
                derived.update(node.output)
    return derived


def _is_plain(value: Any) -> bool:
    """Whether a value is float32 of a known shape."""
    if value is None or value.type.tensor_type.elem_type != _FLOAT:
        return False
    return all(dim.dim_value for dim in value.type.tensor_type.shape.dim)


def _drop_unread_inputs(graph: Any) -> None:
    read = {name for node in graph.node for name in node.input}
    read |= {graph.input[0].name, graph.output[0].name}
    kept = [value for value in graph.input if value.name in read]
    del graph.input[:]
    graph.input.extend(kept)
