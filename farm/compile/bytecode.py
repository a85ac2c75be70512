"""A plan as a program for TVM's Relax virtual machine, which calls one kernel after the other.

Intermediate tensors take turns in a few blocks of memory, which a run takes from the pool once.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import tvm
from tvm import relax
from tvm.relax import _ffi_api

from farm.compile.fuse import Plan
from farm.compile.groups import Shape
from farm.compile.kernels import Step
from farm.compile.memory import Lifetime, assign_slots

_ITEM_BYTES = 4


@dataclass(frozen=True)
class Invocation:
    """A step of a kernel with the names of the values that it reads and writes; the last is the
    output or a temporary."""

    symbol: str
    arguments: tuple[str, ...]


def program(
    plan: Plan, steps: Sequence[Sequence[Step]], temporaries: Sequence[Sequence[Shape]]
) -> bytes:
    """The program of a plan, as TVM's loader reads it.

    steps, temporaries: of the kernel of each of the plan's calls.
    """
    shapes = dict(plan.shapes)
    invocations = []
    for index, call in enumerate(plan.calls):
        extra = [f"{call.output}/{index}/{i}" for i in range(len(temporaries[index]))]
        shapes |= dict(zip(extra, temporaries[index], strict=True))
        names = [*call.operands, call.output, *extra]
        for step in steps[index]:
            invocations.append(Invocation(step.symbol, tuple(names[i] for i in step.arguments)))
    return _Writer(plan, shapes, invocations).write()


class _Writer:
    """Writes the one function of a program."""

    def __init__(
        self, plan: Plan, shapes: Mapping[str, Shape], invocations: Sequence[Invocation]
    ) -> None:
        self.plan, self.shapes, self.invocations = plan, shapes, invocations
        self.builder = relax.ExecBuilder()
        self.registers: dict[Any, int] = {}

    def write(self) -> bytes:
        inputs = list(self.plan.inputs)
        self.registers = {name: index for index, name in enumerate(inputs)}
        with self.builder.function("main", num_inputs=len(inputs), param_names=inputs):
            self._body()
        symbols = sorted({invocation.symbol for invocation in self.invocations})
        return _packed(self.builder, symbols)

    def _body(self) -> None:
        slots, sizes = self._slots()
        storages = [self._storage(("slot", number), size) for number, size in enumerate(sizes)]
        memory = {name: storages[number] for name, number in slots.items()}
        output = self._base(self.plan.output)
        memory[output] = self._storage(("output",), _size_bytes(self.shapes[output]))
        for invocation in self.invocations:
            arguments = [self._tensor(name, memory) for name in invocation.arguments]
            self.builder.emit_call(invocation.symbol, args=arguments)
        self.builder.emit_ret(self._tensor(self.plan.output, memory))

    def _base(self, name: str) -> str:
        return self.plan.views.get(name, name)

    def _slots(self) -> tuple[dict[str, int], list[int]]:
        """The memory slot of every value between two kernels, and the sizes of the slots."""
        first: dict[str, int] = {}
        last: dict[str, int] = {}
        for index, invocation in enumerate(self.invocations):
            for name in map(self._base, invocation.arguments):
                first.setdefault(name, index)
                last[name] = index
        own = {self._base(self.plan.output), *self.plan.inputs}
        names = [name for name in first if name not in own]
        lifetimes = [
            Lifetime(_size_bytes(self.shapes[name]), first[name], last[name]) for name in names
        ]
        numbers, sizes = assign_slots(lifetimes)
        return dict(zip(names, numbers, strict=True)), sizes

    def _register(self, key: Any) -> int:
        self.registers[key] = len(self.registers)
        return int(self.builder.r(self.registers[key]))

    def _storage(self, key: Any, size_bytes: int) -> int:
        builder, register = self.builder, self._register(key)
        scope = builder.convert_constant("global")
        facts = [(size_bytes,), builder.imm(0), tvm.DataType("uint8"), scope]
        builder.emit_call(
            "vm.builtin.alloc_storage", args=[builder.vm_state(), *facts], dst=register
        )
        return register

    def _tensor(self, name: str, memory: Mapping[str, int]) -> int:
        """The register that holds the tensor of a value; emits what makes it the first time."""
        base, shape, builder = self._base(name), self.shapes[name], self.builder
        # Values that take turns in the same memory with the same shape share the tensor, too.
        key = name if name in self.plan.inputs else (memory.get(base, base), shape)
        if key in self.registers:
            return int(builder.r(self.registers[key]))
        register = self._register(key)
        if base in self.plan.inputs:
            source = builder.r(self.registers[base])
            builder.emit_call("vm.builtin.reshape", args=[source, shape], dst=register)
        else:
            facts = [memory[base], builder.imm(0), shape, tvm.DataType("float32")]
            builder.emit_call("vm.builtin.alloc_tensor", args=facts, dst=register)
        return register


def _size_bytes(shape: Shape) -> int:
    return prod(shape) * _ITEM_BYTES


def _packed(builder: Any, symbols: Sequence[str]) -> bytes:
    """The program with a reference to the library that will hold it, as bytes."""
    with tempfile.NamedTemporaryFile(suffix=".o") as empty:
        kernels = tvm.runtime.load_static_library(empty.name, symbols)
    linked = _ffi_api.VMLink(builder, None, None, [kernels], {})
    pack = tvm.get_global_func("runtime.ModulePackImportsToTensor")
    packed: bytes = pack(linked).numpy().tobytes()
    return packed
