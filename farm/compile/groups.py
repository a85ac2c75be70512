"""Fused groups of operations: what one kernel computes. Pure values, no TVM.

A group is a main operation (a convolution, a pooling, a dense layer, or nothing) followed by
elementwise steps. Equal groups compute the same function of their operands, so they share a kernel.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass, field
from functools import cached_property
from math import prod
from typing import Any

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Window:
    """How a kernel slides over an image: (height, width); pads as top, left, bottom, right."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    pads: tuple[int, int, int, int]
    dilation: tuple[int, int] = (1, 1)


@dataclass(frozen=True)
class Step:
    """An elementwise operation on the value so far.

    op: `Relu`, `Clip` (low and high in `constants`), `HardSigmoid` (alpha and beta), `HardSwish`,
        `Sigmoid`, `Silu` (x times its sigmoid), `Tanh`, `Add`, `Sub`, `Mul`, or `Shuffle`, which
        moves channel c of C to (c % (C / g)) * g + c // (C / g), with g in `constants`.
    operand: for binary operations, the index in `Group.operands` of the other operand.
    spread: how that operand spreads over the output; see `broadcast`.
    swapped: whether the other operand comes first.
    """

    op: str
    operand: int | None = None
    spread: str = "full"
    swapped: bool = False
    constants: tuple[float, ...] = ()


@dataclass(frozen=True)
class Schedule:
    """How the kernel of a convolution is written; what it computes is the same with any.

    bands: of rows of the output, which are computed one after the other. rows, columns: output
    channels, and vectors of pixels, that are held in registers.
    """

    bands: int
    rows: int
    columns: int


@dataclass(frozen=True)
class Group:
    """A main operation and its steps.

    main: `Conv`, `AveragePool`, `GlobalAveragePool`, `Gemm`, `Copy` (of its first
    operand) or
        `Fill` (with `value`).
    operands: the shapes of all operands; the main operation's come first.
    output: the shape of the output.
    window: of `Conv` and `AveragePool`.
    groups: of `Conv`. transposed: of `Gemm`, whether the weight is (out, in).
    relu_input: whether the main operation reads max(x, 0) in place of its first operand x.
    weight_block: b where the weight of a `Conv` is (O / b, I, H, W, b), 1 where it is (O, I, H, W).
    schedule: of `Conv`; None for what its rule chooses.
    """

    main: str
    operands: tuple[Shape, ...]
    output: Shape
    steps: tuple[Step, ...] = ()
    window: Window | None = None
    groups: int = 1
    transposed: bool = False
    relu_input: bool = False
    weight_block: int = 1
    value: float = 0.0
    schedule: Schedule | None = None

    @cached_property
    def signature(self) -> str:
        """Canonical text: equal for equal groups."""
        steps = [(s.op, s.operand, s.spread, s.swapped, s.constants) for s in self.steps]
        w = self.window
        window = w and (w.kernel, w.stride, w.pads, w.dilation)
        rest = (self.groups, self.transposed, self.relu_input, self.weight_block, self.value)
        tuned = [astuple(self.schedule)] if self.schedule else []
        return json.dumps([self.main, self.operands, self.output, steps, window, *rest, *tuned])

    @property
    def name(self) -> str:
        """What a person calls it."""
        operations = "+".join([self.main, *(step.op for step in self.steps)])
        return f"{operations} {[list(shape) for shape in self.operands]} -> {list(self.output)}"

    def to_json(self) -> dict[str, Any]:
        return {"group": asdict(self)}


@dataclass(frozen=True)
class Operation:
    """An ONNX operation that no group covers; TVM's own importer and rules make its kernels.

    model: the bytes of an ONNX model of this one node. operands: how many it has.
    name: what a person calls it; operations of other names may be equal.
    """

    model: bytes
    operands: int
    name: str = field(compare=False)

    def to_json(self) -> dict[str, Any]:
        return {"operation": {**asdict(self), "model": base64.b64encode(self.model).decode()}}


def from_json(value: Mapping[str, Any]) -> Group | Operation:
    """The inverse of `to_json` of either."""
    if "operation" in value:
        facts = dict(value["operation"])
        facts["model"] = base64.b64decode(facts["model"])
        return Operation(**facts)
    facts = dict(value["group"])
    steps = tuple(Step(**{**s, "constants": tuple(s["constants"])}) for s in facts["steps"])
    window = facts["window"] and Window(**{k: tuple(v) for k, v in facts["window"].items()})
    schedule = facts["schedule"] and Schedule(**facts["schedule"])
    facts |= {"steps": steps, "window": window, "output": tuple(facts["output"])}
    facts["schedule"] = schedule
    facts["operands"] = tuple(tuple(shape) for shape in facts["operands"])
    return Group(**facts)


def work(group: Group) -> int:
    """About how many multiply-adds, or values that are moved, a group takes."""
    outputs = prod(group.output)
    if group.main == "Conv" and group.window is not None:
        channels = group.operands[0][1] // group.groups
        return outputs * channels * prod(group.window.kernel)
    if group.main == "AveragePool" and group.window is not None:
        return outputs * prod(group.window.kernel)
    return sum(map(prod, group.operands), start=outputs)


def levels(shape: Shape) -> tuple[int, int, int]:
    """A shape as (batch, channels, pixels): the dimensions after the second are one."""
    if len(shape) >= 3:
        return shape[0], shape[1], prod(shape[2:])
    if len(shape) == 2:
        return shape[0], 1, shape[1]
    return 1, 1, prod(shape)


def broadcast(operand: Shape, output: Shape) -> str | None:
    """How `operand` spreads over `output` by NumPy's rules; None for a way that no step knows.

    `full`: same shape. `scalar`: one value. `channel`: one for each channel, the second dimension.
    `inner`: one for each column of a matrix.
    """
    if operand == output:
        return "full"
    if prod(operand) == 1:
        return "scalar"
    aligned = (1,) * (len(output) - len(operand)) + operand
    if len(output) >= 3 and aligned == (1, output[1], *[1] * (len(output) - 2)):
        return "channel"
    if len(output) == 2 and aligned == (1, output[1]):
        return "inner"
    return None
