"""A listing as a program for TVM's Relax virtual machine."""

from __future__ import annotations

import base64
import tempfile
from typing import Any

import numpy as np
import tvm
from tvm import relax
from tvm.relax import _ffi_api

from farm.compile.listing import Listing, Tensor


def program(listing: Listing) -> bytes:
    """The program as TVM's loader reads it from a library."""
    builder = relax.ExecBuilder()
    names = list(listing.inputs)
    with builder.function("main", num_inputs=len(names), param_names=names):
        _emit(builder, listing)
    return _packed(builder, sorted({symbol for symbol, _ in listing.calls}))


def _emit(builder: Any, listing: Listing) -> None:
    inputs = len(listing.inputs)
    first_slot = inputs + len(listing.tensors)
    for index, size_bytes in enumerate(listing.slots):
        scope = builder.convert_constant("global")
        facts = [(size_bytes,), builder.imm(0), tvm.DataType("uint8"), scope]
        slot = builder.r(first_slot + index)
        builder.emit_call("vm.builtin.alloc_storage", [builder.vm_state(), *facts], slot)
    arguments = [builder.r(index) for index in range(inputs)]
    for index, tensor in enumerate(listing.tensors, inputs):
        arguments.append(_tensor(builder, tensor, builder.r(index), first_slot))
    for symbol, numbers in listing.calls:
        builder.emit_call(symbol, [arguments[number] for number in numbers])
    made = [arguments[number] for number in listing.outputs]
    if len(made) > 1:
        several = builder.r(first_slot + len(listing.slots))
        builder.emit_call("vm.builtin.make_tuple", made, several)
        made = [several]
    builder.emit_ret(made[0])


def _tensor(builder: Any, tensor: Tensor, register: int, first_slot: int) -> int:
    """What a call takes for a tensor: a constant, or a register that is filled here."""
    if tensor.data is not None:
        values = np.frombuffer(base64.b64decode(tensor.data), tensor.dtype)
        return int(builder.convert_constant(tvm.runtime.tensor(values.reshape(tensor.shape))))
    if tensor.input is not None:
        source = builder.r(tensor.input)
        builder.emit_call("vm.builtin.reshape", [source, tensor.shape], register)
        return register
    assert tensor.slot is not None
    slot = builder.r(first_slot + tensor.slot)
    facts = [builder.imm(0), tensor.shape, tvm.DataType(tensor.dtype)]
    builder.emit_call("vm.builtin.alloc_tensor", [slot, *facts], register)
    return register


def _packed(builder: Any, symbols: list[str]) -> bytes:
    """The program with a reference to the library that will hold it."""
    with tempfile.NamedTemporaryFile(suffix=".o") as empty:
        kernels = tvm.runtime.load_static_library(empty.name, symbols)
    linked = _ffi_api.VMLink(builder, None, None, [kernels], {})
    pack = tvm.get_global_func("runtime.ModulePackImportsToTensor")
    packed: bytes = pack(linked).numpy().tobytes()
    return packed
