"""An ONNX model as a device would run it: what depends on weights alone is a weight itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx
from onnx import TensorProto, helper, shape_inference

from farm.compile.upsampling import as_convolutions
from farm.core.arguments import own_inputs
from farm.core.errors import BuildError

_SEEDED = (TensorProto.FLOAT, TensorProto.FLOAT16)


def prepared(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same work, with inferred shapes and without what a deployed network does beforehand.

    model: its own inputs come first, its weights after them. Every value that depends on weights
    alone becomes a weight, seeded like all others: another function, but the same work. Weights
    that nothing reads are left out. An output that depends on weights alone copies a weight.
    Raises BuildError for a model that is inconsistent.
    """
    try:
        result = shape_inference.infer_shapes(model, data_prop=True)
        if as_convolutions(result):
            result = shape_inference.infer_shapes(result, data_prop=True)
    except shape_inference.InferenceError as error:
        raise BuildError(f"the ONNX model is inconsistent: {error}") from error
    own = {value.name for value in own_inputs(result)}
    _replace_derived(result.graph, own)
    _drop_unread_weights(result.graph, own)
    return result


def _replace_derived(graph: Any, own: set[str]) -> None:
    """Makes inputs of the values that depend on weights alone and that others read."""
    weights = {value.name for value in graph.input} - own
    derived = _derived(graph.node, weights, {tensor.name for tensor in graph.initializer})
    kept = [node for node in graph.node if node.output[0] not in derived]
    types = {value.name: value for value in graph.value_info}
    for output in graph.output:
        if output.name in derived:
            weight = f"{output.name}/weight"
            kept.append(helper.make_node("Identity", [weight], [output.name]))
            types[output.name] = output
            types[weight] = _renamed(output, weight)
            derived.add(weight)
    read = dict.fromkeys(name for node in kept for name in node.input if name in derived)
    if not all(_is_plain(types.get(name)) for name in read):
        return
    del graph.node[:]
    graph.node.extend(kept)
    graph.input.extend(types[name] for name in read)


def _renamed(value: Any, name: str) -> Any:
    renamed = onnx.ValueInfoProto()
    renamed.CopyFrom(value)
    renamed.name = name
    return renamed


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
    """Whether a value is of numbers that can be seeded, and of a known shape."""
    if value is None or value.type.tensor_type.elem_type not in _SEEDED:
        return False
    return all(dim.dim_value for dim in value.type.tensor_type.shape.dim)


def _drop_unread_weights(graph: Any, own: set[str]) -> None:
    read = {name for node in graph.node for name in node.input}
    read |= own | {value.name for value in graph.output}
    kept = [value for value in graph.input if value.name in read]
    del graph.input[:]
    graph.input.extend(kept)
