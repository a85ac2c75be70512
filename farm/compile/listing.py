"""A plan with its kernels as a list of calls on numbered tensors: what a program will do. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from farm.compile.fuse import Plan
from farm.compile.groups import Shape
from farm.compile.kernels import StoredKernel
from farm.compile.memory import Lifetime, assign_slots

_ITEM_BYTES = 4


@dataclass(frozen=True)
class Tensor:
    """A tensor in a block of memory (`slot`), or another shape of an argument (`input`)."""

    shape: Shape
    slot: int | None
    input: int | None


@dataclass(frozen=True)
class Listing:
    """A network for a virtual machine.

    inputs: the names of the arguments. slots: sizes of the blocks of memory, in bytes; the last is
    the output's. tensors: numbered after the inputs. calls: a symbol and the numbers of its
    arguments, each an input or a tensor. output: the number of the output.
    """

    inputs: tuple[str, ...]
    slots: tuple[int, ...]
    tensors: tuple[Tensor, ...]
    calls: tuple[tuple[str, tuple[int, ...]], ...]
    output: int

    def to_json(self) -> dict[str, Any]:
        tensors = [{"shape": t.shape, "slot": t.slot, "input": t.input} for t in self.tensors]
        return {**vars(self), "tensors": tensors}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Listing:
        return cls(
            inputs=tuple(value["inputs"]),
            slots=tuple(value["slots"]),
            tensors=tuple(
                Tensor(tuple(t["shape"]), t["slot"], t["input"]) for t in value["tensors"]
            ),
            calls=tuple((symbol, tuple(numbers)) for symbol, numbers in value["calls"]),
            output=value["output"],
        )


def listing(plan: Plan, kernels: Sequence[StoredKernel]) -> Listing:
    """kernels: of the plan's calls, in order."""
    return _Numbering(plan, *_named_calls(plan, kernels)).listing()


def _named_calls(
    plan: Plan, kernels: Sequence[StoredKernel]
) -> tuple[list[tuple[str, tuple[str, ...]]], dict[str, Shape]]:
    """Every call with the names of its arguments, and the shapes of all names."""
    shapes, calls = dict(plan.shapes), []
    for call, kernel in zip(plan.calls, kernels, strict=True):
        extra = [f"{call.output}/temporary{i}" for i in range(len(kernel.temporaries))]
        shapes |= dict(zip(extra, kernel.temporaries, strict=True))
        names = [*call.operands, call.output, *extra]
        for step in kernel.steps:
            calls.append((step.symbol, tuple(names[i] for i in step.arguments)))
    return calls, shapes


class _Numbering:
    """Gives every value a tensor, and every tensor memory."""

    def __init__(
        self,
        plan: Plan,
        calls: Sequence[tuple[str, tuple[str, ...]]],
        shapes: Mapping[str, Shape],
    ) -> None:
        self.plan, self.calls, self.shapes = plan, calls, shapes
        self.tensors: dict[Tensor, int] = {}
        self.slots, self.sizes = self._assigned()

    def listing(self) -> Listing:
        calls = tuple(
            (symbol, tuple(self._number(name) for name in names)) for symbol, names in self.calls
        )
        output = self._number(self.plan.output)
        return Listing(self.plan.inputs, tuple(self.sizes), tuple(self.tensors), calls, output)

    def _base(self, name: str) -> str:
        return self.plan.views.get(name, name)

    def _size_bytes(self, name: str) -> int:
        return prod(self.shapes[name]) * _ITEM_BYTES

    def _assigned(self) -> tuple[dict[str, int], list[int]]:
        """The slot of every value that a kernel makes, and the sizes of the slots."""
        spans: dict[str, tuple[int, int]] = {}
        for index, (_, names) in enumerate(self.calls):
            for name in map(self._base, names):
                spans[name] = (spans.get(name, (index, 0))[0], index)
        output = self._base(self.plan.output)
        inner = [name for name in spans if name not in (output, *self.plan.inputs)]
        lifetimes = [Lifetime(self._size_bytes(name), *spans[name]) for name in inner]
        numbers, sizes = assign_slots(lifetimes)
        slots = dict(zip(inner, numbers, strict=True)) | {output: len(sizes)}
        return slots, [*sizes, self._size_bytes(output)]

    def _number(self, name: str) -> int:
        inputs = self.plan.inputs
        if name in inputs:
            return inputs.index(name)
        base, shape = self._base(name), self.shapes[name]
        # Values that take turns in one slot with one shape share the tensor, too.
        if base in inputs:
            tensor = Tensor(shape, None, inputs.index(base))
        else:
            tensor = Tensor(shape, self.slots[base], None)
        return self.tensors.setdefault(tensor, len(inputs) + len(self.tensors))
