"""Which seeded values a network's arguments may have. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from farm.core.arguments import TYPES, dtype_name, weights
from farm.core.errors import BuildError
from farm.core.values import TensorSpec

if TYPE_CHECKING:
    import onnx

_NARROW = {"int8": 128, "uint8": 256}
"""Images in bytes and quantised values: all of their range."""

_INT8_WEIGHT = 64
"""Half of the range, as trained weights have: sums of them seldom saturate."""

_MASK = 2
"""Integers of which nothing else is known: 0 and 1, which is right for masks and kinds of token."""

_RECURRENT = ("GRU", "LSTM", "RNN")
_SUMMING = ("Conv", "ConvTranspose", "Gemm", "MatMul", *_RECURRENT)
"""Layers whose operands after the first are weights and biases of sums."""

_HANDED_ON = {
    "Cast",
    "Concat",
    "Expand",
    "Flatten",
    "Identity",
    "Reshape",
    "Slice",
    "Split",
    "Squeeze",
    "Tile",
    "Transpose",
    "Unsqueeze",
}
"""Operators whose output holds values of their first input, and no others."""


def tensor_specs(model: onnx.ModelProto) -> tuple[TensorSpec, ...]:
    """Shape, type and bound of each argument, in order: the network's inputs, then the weights.

    model: prepared. Float weights are uniform with variance 2 / fan-in (He et al. 2015, eq. 10),
    which keeps the scale of activations through any depth of ReLU layers; biases are as in PyTorch,
    1 / sqrt(fan-in). Integers that choose from a table are rows of it. Raises BuildError for a
    dynamic shape or a type that a device cannot fill.
    """
    shapes = _shapes(model)
    fan_in, rows = _fan_in(model.graph, shapes), _rows(model, shapes)
    learnt = {value.name for value in weights(model)}
    return tuple(
        _spec(value.name, shapes[value.name], _dtype(value), fan_in, rows, learnt)
        for value in model.graph.input
    )


def _spec(
    name: str,
    shape: tuple[int, ...],
    dtype: str,
    fan_in: Mapping[str, int],
    rows: Mapping[str, int],
    learnt: set[str],
) -> TensorSpec:
    if dtype.startswith("float"):
        return TensorSpec(name, shape, _bound(shape, fan_in.get(name)), dtype)
    if name in rows:
        return TensorSpec(name, shape, rows[name], dtype, positive=True)
    if name in learnt and dtype == "int8":
        return TensorSpec(name, shape, _INT8_WEIGHT, dtype)
    bound = _NARROW.get(dtype, _MASK)
    return TensorSpec(name, shape, bound, dtype, positive=dtype != "int8")


def _dtype(value: Any) -> str:
    name = dtype_name(value.type.tensor_type.elem_type)
    if name not in TYPES:
        raise BuildError(
            f"{value.name!r} has the type {name}, which no device can fill; "
            f"known are {', '.join(TYPES)}"
        )
    return name


def _shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """The shapes of all values, as far as they are known; those of arguments are."""
    graph = model.graph
    shapes = {
        value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in (*graph.input, *graph.value_info, *graph.output)
    }
    for value in graph.input:
        if not all(shapes[value.name]):
            raise BuildError(
                f"input {value.name!r} has a dynamic shape; fix its size in the ONNX file"
            )
    return shapes | {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}


def _bound(shape: tuple[int, ...], fan_in: int | None) -> float:
    if fan_in is None:
        return 1.0
    return math.sqrt(1 / fan_in) if len(shape) == 1 else math.sqrt(6 / fan_in)


def _fan_in(graph: Any, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """Terms in each output's sum, for the weight and the bias of every layer that sums."""
    arguments = {value.name for value in graph.input}
    fan_in: dict[str, int] = {}
    for node in graph.node:
        if node.op_type in _SUMMING and node.input[1] in arguments:
            fan_in.update(dict.fromkeys(node.input[1:], _terms(node, shapes[node.input[1]])))
    return fan_in


def _terms(node: Any, shape: tuple[int, ...]) -> int:
    if node.op_type == "Conv":
        return math.prod(shape[1:])
    if node.op_type == "ConvTranspose":
        steps = next((a.ints for a in node.attribute if a.name == "strides"), ())
        return shape[0] * max(1, math.prod(shape[2:]) // math.prod(steps))
    if node.op_type in _RECURRENT:  # a bound of 1 / sqrt(units), as in PyTorch
        return 6 * int(next(a.i for a in node.attribute if a.name == "hidden_size"))
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    return shape[-1] if transposed or len(shape) < 2 else shape[-2]


def _rows(model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """For each argument that chooses rows of tables: how many rows the smallest table has."""
    from farm.compile.graph import constants_of  # which imports onnx

    constants = constants_of(model.graph)
    holders = {value.name: {value.name} for value in model.graph.input}
    found: dict[str, int] = {}
    for node in model.graph.node:
        first = holders.get(node.input[0], set()) if node.input else set()
        if node.op_type in _HANDED_ON:
            several = node.input if node.op_type == "Concat" else node.input[:1]
            held = set().union(*(holders.get(name, set()) for name in several))
            holders |= dict.fromkeys(node.output, held)
            continue
        table = _table(node, shapes, constants)
        choosers = first if node.op_type == "OneHot" else holders.get(_second(node), set())
        if table is not None:
            for name in choosers:
                found[name] = min(table, found.get(name, table))
    return found


def _second(node: Any) -> str:
    return node.input[1] if len(node.input) > 1 else ""


def _table(
    node: Any, shapes: Mapping[str, tuple[int, ...]], constants: Mapping[str, np.ndarray]
) -> int | None:
    """How many rows an operator chooses from; None for one that does not, or where it is open."""
    shape = shapes.get(node.input[0]) if node.input else None
    axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
    match node.op_type:
        case "Gather" | "GatherElements" | "ScatterElements" if shape:
            return shape[axis]
        case "GatherND" | "ScatterND" if shape:
            return min(shape)
        case "OneHot" if node.input[1] in constants:
            return int(constants[node.input[1]].item())
    return None
