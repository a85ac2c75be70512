"""Kernels of single ONNX operations that are written by hand, like those of groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import onnx
from onnx import TensorProto, helper, numpy_helper

from farm.compile.codegen.matmul import Product, matmul
from farm.compile.codegen.recurrent import GATES, Layer, recurrent
from farm.compile.groups import Shape
from farm.compile.target import Isa


@dataclass(frozen=True)
class Call:
    """An operation as its writer sees it. operands: shapes of what it reads, None for what is left
    out; output: which of the node's outputs it makes, and its shape."""

    attributes: Mapping[str, Any]
    operands: tuple[Shape | None, ...]
    output: tuple[int, Shape]


def written(model: onnx.ModelProto, isa: Isa) -> Any:
    """The PrimFunc of an operation; its parameters are what it reads, in order, then the output.

    None for an operation that is left to TVM.
    """
    (node,) = model.graph.node
    writer = _WRITERS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    if writer is None:
        return None
    shapes, kinds = _types(model)
    read = [name for name in node.input if name]
    if any(kinds[name] != TensorProto.FLOAT for name in (*read, model.graph.output[0].name)):
        return None
    output = model.graph.output[0].name
    call = Call(
        {a.name: helper.get_attribute_value(a) for a in node.attribute},
        tuple(shapes[name] if name else None for name in node.input),
        (list(node.output).index(output), shapes[output]),
    )
    return writer(call, isa)


def _types(model: onnx.ModelProto) -> tuple[dict[str, Shape], dict[str, int]]:
    shapes: dict[str, Shape] = {}
    kinds: dict[str, int] = {}
    for value in (*model.graph.input, *model.graph.output):
        kind = value.type.tensor_type
        shapes[value.name] = tuple(dim.dim_value for dim in kind.shape.dim)
        kinds[value.name] = kind.elem_type
    for tensor in model.graph.initializer:
        shapes[tensor.name], kinds[tensor.name] = tuple(tensor.dims), tensor.data_type
    return shapes, kinds


def constants(model: onnx.ModelProto) -> dict[str, Any]:
    """The values that an operation has with it, by name."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def _product(call: Call, isa: Isa) -> Any:
    a, b = call.operands
    if a is None or b is None or min(len(a), len(b)) < 2:
        return None
    batch = prod(a[:-2])
    if batch > 1 and len(b) > 2 and b[:-2] != a[:-2]:
        return None
    shared = prod(b[:-2]) == 1
    if prod(b[:-2]) not in (1, batch):
        return None
    return matmul(Product(batch, a[-2], a[-1], b[-1], shared), isa, (a, b, call.output[1]))


_DEFAULTS = {
    "LSTM": ["Sigmoid", "Tanh", "Tanh"],
    "GRU": ["Sigmoid", "Tanh"],
    "RNN": ["Tanh"],
}

_PLAIN = {"direction", "hidden_size", "linear_before_reset", "activations"}
"""Attributes of recurrent layers that their kernel knows."""

_LENGTHS = 4
"""Which operand of a recurrent layer says how long each sequence is."""


def _recurrent(kind: str, call: Call, isa: Isa) -> Any:
    given = {name: value for name, value in call.attributes.items() if value}
    directions = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
    reverse = directions[given.get("direction", b"forward").decode()]
    names = [name.decode() for name in given.get("activations", ())]
    usual = not names or names == _DEFAULTS[kind] * len(reverse)
    lengths = len(call.operands) > _LENGTHS and call.operands[_LENGTHS] is not None
    if not usual or lengths or not given.keys() <= _PLAIN or call.operands[0] is None:
        return None
    recurrence = call.operands[2]
    assert recurrence is not None
    layer = Layer(
        kind=kind,
        inputs=call.operands[0],
        hidden=recurrence[-1],
        reverse=reverse,
        reset_after=bool(given.get("linear_before_reset")),
        made=call.output[0],
        operands=call.operands,
        output=call.output[1],
    )
    return recurrent(layer, isa)


_WRITERS: Mapping[str, Callable[[Call, Isa], Any]] = {
    "MatMul": _product,
    **{kind: partial(_recurrent, kind) for kind in GATES},
}
