"""The elementwise end of a kernel: from a value of the main operation to the value that is
stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tvm import tirx

from farm.compile.codegen.tir import Expr, Stmt, Tensor, load, splat, store
from farm.compile.functions import let, sigmoid, tanh
from farm.compile.groups import Group, Step, levels


def _hard_sigmoid(x: Expr, constants: Sequence[float], lanes: int) -> Expr:
    """max(0, min(1, alpha x + beta))."""
    alpha, beta, zero, one = (splat(number, lanes) for number in (*constants, 0.0, 1.0))
    return tirx.max(tirx.min(alpha * x + beta, one), zero)


_CURVES: Mapping[str, Callable[[Expr, Sequence[float], int], Expr]] = {
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda x, _, lanes: x * _hard_sigmoid(x, (1 / 6, 0.5), lanes),
    "Sigmoid": lambda x, *_: sigmoid(x),
    "Silu": lambda x, *_: x * sigmoid(x),
    "Tanh": lambda x, *_: tanh(x),
}


def interface(group: Group) -> tuple[list[Tensor], Output]:
    """The parameters of a group's kernel, its operands and then the output; how that is stored."""
    shapes = [*group.operands, group.output]
    tensors = [Tensor.named(f"x{index}", shape) for index, shape in enumerate(shapes)]
    return tensors, Output(group, tensors)


class Output:
    """Stores values of a group's main operation after its steps."""

    def __init__(self, group: Group, tensors: Sequence[Tensor]) -> None:
        """tensors: the parameters of the group's kernel."""
        self._steps = group.steps
        self._operands = tensors[:-1]
        self._tensor = tensors[-1]
        self.batch, self.channels, self.pixels = levels(group.output)

    def store(self, n: Expr, channel: Expr, pixel: Expr, value: Expr, lanes: int) -> Stmt:
        """The statement that stores `value`, `lanes` pixels of a channel of the main operation."""
        for step in self._steps:
            if step.op == "Shuffle":
                channel = self._shuffled(channel, int(step.constants[0]))
            else:
                value = self._apply(step, value, n, channel, pixel, lanes)
        return store(self._tensor.flat, self._index(n, channel, pixel), value, lanes)

    def _index(self, n: Expr, channel: Expr, pixel: Expr) -> Expr:
        return (n * self.channels + channel) * self.pixels + pixel

    def _shuffled(self, channel: Expr, groups: int) -> Expr:
        size = self.channels // groups
        return tirx.indexmod(channel, size) * groups + tirx.indexdiv(channel, size)

    def _apply(
        self, step: Step, value: Expr, n: Expr, channel: Expr, pixel: Expr, lanes: int
    ) -> Expr:
        if step.op == "Relu":
            return tirx.max(value, splat(0.0, lanes))
        if step.op == "Clip":
            low, high = (splat(bound, lanes) for bound in step.constants)
            return tirx.min(tirx.max(value, low), high)
        if step.op in _CURVES:
            return let(value, lambda x: _CURVES[step.op](x, step.constants, lanes))
        assert step.operand is not None
        operand = self._operands[step.operand]
        other = self._operand(operand, step.spread, n, channel, pixel, lanes)
        a, b = (other, value) if step.swapped else (value, other)
        return {"Add": a + b, "Sub": a - b, "Mul": a * b}[step.op]

    def _operand(
        self, operand: Tensor, spread: str, n: Expr, channel: Expr, pixel: Expr, lanes: int
    ) -> Expr:
        if spread == "full":
            return load(operand.flat, self._index(n, channel, pixel), lanes)
        if spread == "inner":
            return load(operand.flat, pixel, lanes)
        index = channel if spread == "channel" else 0
        return splat(load(operand.flat, index, 1), lanes)
