"""A plan with its kernels as a list of calls on numbered tensors: what a program will do. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from farm.compile.groups import Shape
from farm.compile.kernel_cache import Buffer, StoredKernel
from farm.compile.memory import Lifetime, assign_slots, spans

if TYPE_CHECKING:
    from farm.compile.fuse import Plan


@dataclass(frozen=True)
class Tensor:
    """A tensor in a block of memory (`slot`), another shape of an argument (`input`), or a
    constant (`data`, in base64)."""

    shape: Shape
    dtype: str = "float32"
    slot: int | None = None
    input: int | None = None
    data: str | None = None


@dataclass(frozen=True)
class Listing:
    """A network for a virtual machine.

    inputs: the names of the arguments. slots: sizes of the blocks of memory, in bytes; the last are
    the outputs'. tensors: numbered after the inputs. calls: a symbol and the numbers of its
    arguments, each an input or a tensor. outputs: the numbers of the outputs.
    """

    inputs: tuple[str, ...]
    slots: tuple[int, ...]
    tensors: tuple[Tensor, ...]
    calls: tuple[tuple[str, tuple[int, ...]], ...]
    outputs: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "tensors": [vars(tensor) for tensor in self.tensors]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Listing:
        return cls(
            inputs=tuple(value["inputs"]),
            slots=tuple(value["slots"]),
            tensors=tuple(Tensor(**{**t, "shape": tuple(t["shape"])}) for t in value["tensors"]),
            calls=tuple((symbol, tuple(numbers)) for symbol, numbers in value["calls"]),
            outputs=tuple(value["outputs"]),
        )


def listing(plan: Plan, kernels: Sequence[StoredKernel]) -> Listing:
    """kernels: of the plan's calls, in order."""
    return _Numbering(plan, kernels).listing()


class _Numbering:
    """Gives every value a tensor, and every tensor memory."""

    def __init__(self, plan: Plan, kernels: Sequence[StoredKernel]) -> None:
        self.plan = plan
        self.types = {
            name: Buffer(shape, plan.dtypes.get(name, "float32"))
            for name, shape in plan.shapes.items()
        }
        self.calls = list(self._named_calls(kernels))
        self.tensors: dict[Tensor, int] = {}
        self.slots, self.sizes = self._assigned()

    def _named_calls(
        self, kernels: Sequence[StoredKernel]
    ) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Every call with the names of its arguments, what kernels keep to themselves included."""
        for call, kernel in zip(self.plan.calls, kernels, strict=True):
            own = {f"{call.output}/{i}": buffer for i, buffer in enumerate(kernel.buffers)}
            self.types |= own
            names = [*call.operands, call.output, *own]
            for step in kernel.steps:
                yield step.symbol, tuple(names[i] for i in step.arguments)

    def listing(self) -> Listing:
        calls = tuple(
            (symbol, tuple(self._number(name) for name in names)) for symbol, names in self.calls
        )
        outputs = tuple(map(self._number, self.plan.outputs))
        return Listing(self.plan.inputs, tuple(self.sizes), tuple(self.tensors), calls, outputs)

    def _base(self, name: str) -> str:
        return self.plan.views.get(name, name)

    def _size_bytes(self, name: str) -> int:
        return prod(self.types[name].shape) * np.dtype(self.types[name].dtype).itemsize

    def _assigned(self) -> tuple[dict[str, int], list[int]]:
        """The slot of every value that a kernel makes, and the sizes of the slots."""
        named = spans(map(self._base, names) for _, names in self.calls)
        outputs = list(dict.fromkeys(map(self._base, self.plan.outputs)))
        inner = [name for name in named if name not in (*outputs, *self.plan.inputs)]
        inner = [name for name in inner if self.types[name].data is None]
        lifetimes = [Lifetime(self._size_bytes(name), *named[name]) for name in inner]
        numbers, sizes = assign_slots(lifetimes)
        own = {output: number for number, output in enumerate(outputs, len(sizes))}
        slots = dict(zip(inner, numbers, strict=True)) | own
        return slots, [*sizes, *map(self._size_bytes, outputs)]

    def _number(self, name: str) -> int:
        inputs = self.plan.inputs
        if name in inputs:
            return inputs.index(name)
        # Values that take turns in one slot with one type share the tensor, too.
        tensor = self._tensor(name)
        return self.tensors.setdefault(tensor, len(inputs) + len(self.tensors))

    def _tensor(self, name: str) -> Tensor:
        base, kind = self._base(name), self.types[name]
        if base in self.plan.inputs:
            return Tensor(kind.shape, kind.dtype, input=self.plan.inputs.index(base))
        if kind.data is not None:
            return Tensor(kind.shape, kind.dtype, data=kind.data)
        return Tensor(kind.shape, kind.dtype, slot=self.slots[base])
