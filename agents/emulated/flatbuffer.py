"""Tables of a FlatBuffer, written as Python values: no schema compiler, no generated code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers
from flatbuffers import number_types

BYTE, INT, UINT, LONG, FLOAT = "Int8", "Int32", "Uint32", "Int64", "Float32"
"""Types of numbers, as the library names them."""

_SIZES_BYTES = {BYTE: 1, INT: 4, UINT: 4, LONG: 8, FLOAT: 4}

_DATA_ALIGNMENT = 16


@dataclass(frozen=True)
class Number:
    """A field that holds a number."""

    type: str
    value: float


@dataclass(frozen=True)
class Numbers:
    """A vector of numbers."""

    type: str
    values: Sequence[float]


@dataclass(frozen=True)
class Table:
    """fields: by their number in the schema; text, bytes, `Number`, `Numbers`, table or tables."""

    fields: Mapping[int, Any]


def serialise(root: Table, identifier: bytes) -> bytes:
    """The whole buffer; equal tables give equal bytes."""
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(_table(builder, root), identifier)
    return bytes(builder.Output())


def _table(builder: Any, table: Table) -> int:
    # A table's strings, vectors and tables must be complete before it is begun.
    parts = {slot: _part(builder, value) for slot, value in table.fields.items()}
    builder.StartObject(max(parts, default=-1) + 1)
    for slot, value in parts.items():
        if isinstance(value, Number):
            _prepend(builder, slot, value)
        else:
            builder.PrependUOffsetTRelativeSlot(slot, value, 0)
    return int(builder.EndObject())


def _prepend(builder: Any, slot: int, number: Number) -> None:
    """Always writes it: what a reader takes for the default, the schema knows."""
    flags = getattr(number_types, f"{number.type}Flags")
    builder.PrependSlot(flags, slot, flags.py_type(number.value), None)


def _part(builder: Any, value: Any) -> Any:
    if isinstance(value, Number):
        return value
    if isinstance(value, str):
        return builder.CreateString(value)
    if isinstance(value, bytes):
        return _data(builder, value)
    if isinstance(value, Numbers):
        return _numbers(builder, value)
    if isinstance(value, Table):
        return _table(builder, value)
    offsets = [_table(builder, table) for table in value]
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()


def _data(builder: Any, data: bytes) -> int:
    builder.StartVector(1, len(data), _DATA_ALIGNMENT)
    builder.head -= len(data)
    builder.Bytes[builder.head : builder.head + len(data)] = data
    return int(builder.EndVector())


def _numbers(builder: Any, numbers: Numbers) -> int:
    size_bytes = _SIZES_BYTES[numbers.type]
    prepend = getattr(builder, f"Prepend{numbers.type}")
    builder.StartVector(size_bytes, len(numbers.values), size_bytes)
    for value in reversed(numbers.values):
        prepend(value)
    return int(builder.EndVector())
