"""The arguments of a model: the network's own inputs first, then its weights.

Search spaces write models so, and the compiler reads them so.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto

INPUT_NAME = "input"

TYPES = (
    "bool",
    "float16",
    "float32",
    "float64",
    "int16",
    "int32",
    "int64",
    "int8",
    "uint16",
    "uint32",
    "uint64",
    "uint8",
)
"""Types of arguments, as NumPy calls them: all that a device can fill."""

_FURTHER = re.compile(rf"{INPUT_NAME}[1-9]\d*")


def input_name(number: int) -> str:
    """How the network's own input of this number, from 0 on, is called in a model."""
    return f"{INPUT_NAME}{number or ''}"


def own_inputs(model: ModelProto) -> list[ValueInfoProto]:
    """What a network is given: the first input, and what is called like a further one.

    The `doc_string` of each is its name in the file that it comes from.
    """
    first, *others = model.graph.input
    return [first, *(value for value in others if _FURTHER.fullmatch(value.name))]


def weights(model: ModelProto) -> list[ValueInfoProto]:
    """What a network has learnt: the inputs after its own."""
    return list(model.graph.input)[len(own_inputs(model)) :]


def dtype_name(elem_type: int) -> str:
    """ONNX's number of a type as NumPy calls it; `unknown` for a number that is none."""
    from onnx import TensorProto, helper

    if elem_type not in TensorProto.DataType.values() or not elem_type:
        return "unknown"
    return str(helper.tensor_dtype_to_np_dtype(elem_type).name)
