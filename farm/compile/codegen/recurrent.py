"""Recurrent layers: ONNX's LSTM, GRU and RNN, a kernel that goes through the steps itself.

What the inputs add to the gates is one product for all steps; what the state adds, a product of the
state with the weights at each step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tvm import tirx

from farm.compile.codegen.matmul import Product, product_body, rows_of
from farm.compile.codegen.tiling import largest_factor, vector_lanes
from farm.compile.codegen.tir import (
    Expr,
    Registers,
    Stmt,
    Tensor,
    function,
    horizontal_sum,
    load,
    loop,
    pieces,
    scratch,
    splat,
    store,
)
from farm.compile.groups import Shape
from farm.compile.target import Isa

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
"""Gates of a layer, in ONNX's order: iofc, zrh, and h."""

_OPERANDS = 8

_DOTS = 4
"""Sums of products at a time."""


@dataclass(frozen=True)
class Layer:
    """kind: the operator. inputs: the shape of X. hidden: the size of the state.

    reverse: of each direction, whether it goes from the last step to the first.
    reset_after: `linear_before_reset` of a GRU.
    made: which output it is: all states, the last state, or the last cell.
    operands: shapes of X, W, R, B, the lengths, the initial state, the initial cell and the
        peepholes; None for what is left out.
    """

    kind: str
    inputs: Shape
    hidden: int
    reverse: tuple[bool, ...]
    reset_after: bool
    made: int
    operands: tuple[Shape | None, ...]
    output: Shape


def recurrent(layer: Layer, isa: Isa) -> Any:
    """The kernel of a layer; its parameters are the operands that it has, then the output."""
    shapes = [*layer.operands, layer.output]
    named = [None if s is None else Tensor.named(f"x{i}", s) for i, s in enumerate(shapes)]
    operands: list[Any] = named[:-1]
    operands += [None] * (_OPERANDS - len(operands))
    output = named[-1]
    body = [
        statement
        for number, reverse in enumerate(layer.reverse)
        for statement in _Direction(layer, isa, operands, output, number, reverse).body()
    ]
    return function([tensor for tensor in named if tensor], body)


class _Direction:
    """One pass over the steps."""

    def __init__(
        self,
        layer: Layer,
        isa: Isa,
        operands: Sequence[Any],
        output: Any,
        number: int,
        reverse: bool,
    ) -> None:
        self.layer, self.isa, self.output = layer, isa, output
        self.number, self.reverse = number, reverse
        self.x, self.w, self.r, self.bias, _, self.h0, self.c0, self.peephole = operands
        self.steps, self.batch, self.width = layer.inputs
        self.hidden, self.gates = layer.hidden, GATES[layer.kind]
        self.rows = self.gates * self.hidden
        self.added, self._added = scratch("added", self.steps * self.batch * self.rows)
        self.sums, self._sums = scratch("sums", self.rows)
        self.state, self._state = scratch("state", self.batch * self.hidden)
        self.cell, self._cell = scratch("cell", self.batch * self.hidden)
        self.scaled, self._scaled = scratch("scaled", self.hidden)

    def body(self) -> list[Stmt]:
        made = [self._added, self._sums, self._state, self._cell, self._scaled]
        steps = loop(self.steps, lambda i: [loop(self.batch, lambda b: self._step(i, b))])
        return [*made, *self._start(), *self._inputs(), steps, *self._end()]

    # Before and after the steps

    def _start(self) -> list[Stmt]:
        size = self.batch * self.hidden

        def copy(target: Any, source: Tensor | None) -> Stmt:
            def one(i: Expr) -> list[Stmt]:
                value = load(source.flat, self.number * size + i, 1) if source else splat(0.0, 1)
                return [store(target, i, value, 1)]

            return loop(size, one)

        return [copy(self.state, self.h0), copy(self.cell, self.c0)]

    def _inputs(self) -> list[Stmt]:
        """added = x @ W.T, for all steps."""
        p = Product(1, self.steps * self.batch, self.width, self.rows, True, True)
        start = self.number * self.rows * self.width

        def store_at(row: Expr, column: Expr, value: Expr, lanes: int) -> Stmt:
            return store(self.added, row * self.rows + column, value, lanes)

        factors = rows_of(self.x.flat, self.width)
        return list(product_body(p, self.isa, factors, self.w.flat, store_at, start))

    def _end(self) -> list[Stmt]:
        if self.layer.made == 0:
            return []
        size = self.batch * self.hidden
        source = self.state if self.layer.made == 1 else self.cell

        def one(i: Expr) -> list[Stmt]:
            return [store(self.output.flat, self.number * size + i, load(source, i, 1), 1)]

        return [loop(size, one)]

    # A step

    def _step(self, index: Expr, b: Expr) -> list[Stmt]:
        step = self.steps - 1 - index if self.reverse else index
        added = (step * self.batch + b) * self.rows
        state = b * self.hidden
        place = ((step * len(self.layer.reverse) + self.number) * self.batch + b) * self.hidden

        def keep(at: Expr, value: Expr, n: int) -> list[Stmt]:
            return self._keep(place, state, at, value, n)

        if self.layer.kind == "GRU" and not self.layer.reset_after:
            return self._gru_reset_before(added, state, keep)
        dots = self._dots(self.state, state, 0, self.rows)
        new = {"LSTM": self._lstm, "GRU": self._gru, "RNN": self._rnn}[self.layer.kind]
        return [*dots, *self._each(lambda at, n: new(added, state, at, n, keep))]

    def _each(self, body: Callable[[Expr, int], list[Stmt]]) -> list[Stmt]:
        """`body` for vectors of the state."""
        lanes = vector_lanes(self.hidden, self.isa)
        full, rest = divmod(self.hidden, lanes)
        statements = [loop(full, lambda i: body(i * lanes, lanes))]
        for at, n in pieces(rest, lanes):
            statements += body(full * lanes + at, n)
        return statements

    def _dots(self, source: Any, start: Expr, first: int, count: int) -> list[Stmt]:
        """sums[first:first + count] = the same rows of R @ source[start:]."""
        size, at_once = self.hidden, largest_factor(count, _DOTS)
        lanes = vector_lanes(size, self.isa)
        base = self.number * self.rows * size

        def some(i: Expr) -> list[Stmt]:
            row = first + i * at_once
            sums = Registers(at_once, 1, lanes)

            def add(k: Expr) -> list[Stmt]:
                values = load(source, start + k * lanes, lanes)
                return [
                    sums.set(
                        r,
                        0,
                        sums.get(r, 0) + values * self._weights(base, row + r, k * lanes, lanes),
                    )
                    for r in range(at_once)
                ]

            stores = []
            for r in range(at_once):
                total = horizontal_sum(sums.get(r, 0), lanes)
                for at, n in pieces(size % lanes, lanes):
                    k = size - size % lanes + at
                    values = load(source, start + k, n)
                    total += horizontal_sum(values * self._weights(base, row + r, k, n), n)
                stores.append(store(self.sums, row + r, total, 1))
            return [*sums.allocate(), loop(size // lanes, add), *stores]

        return [loop(count // at_once, some)]

    def _weights(self, base: int, row: Expr, k: Expr, lanes: int) -> Expr:
        return load(self.r.flat, base + row * self.hidden + k, lanes)

    def _from_input(self, added: Expr, gate: int, at: Expr, n: int) -> Expr:
        """What the inputs and their bias add to a gate."""
        value = load(self.added, added + gate * self.hidden + at, n)
        return value + self._bias(gate, at, n)

    def _bias(self, gate: int, at: Expr, n: int) -> Expr:
        if self.bias is None:
            return splat(0.0, n)
        start = self.number * 2 * self.rows
        return load(self.bias.flat, start + gate * self.hidden + at, n)

    def _from_state(self, gate: int, at: Expr, n: int) -> Expr:
        """What the state and its bias add to a gate."""
        return load(self.sums, gate * self.hidden + at, n) + self._bias(self.gates + gate, at, n)

    def _gate(self, added: Expr, gate: int, at: Expr, n: int) -> Expr:
        return self._from_input(added, gate, at, n) + self._from_state(gate, at, n)

    def _peep(self, gate: int, at: Expr, cell: Expr, n: int) -> Expr:
        if self.peephole is None:
            return splat(0.0, n)
        start = self.number * 3 * self.hidden + gate * self.hidden
        return load(self.peephole.flat, start + at, n) * cell

    def _keep(self, place: Expr, state: Expr, at: Expr, value: Expr, n: int) -> list[Stmt]:
        """The new state, for the next step and as an output."""
        kept = store(self.state, state + at, value, n)
        if self.layer.made:
            return [kept]
        # The state comes last: the value may be made of it.
        return [store(self.output.flat, place + at, value, n), kept]

    # The kinds

    def _lstm(self, added: Expr, state: Expr, at: Expr, n: int, keep: Any) -> list[Stmt]:
        old = load(self.cell, state + at, n)
        i, o, f, c = (self._gate(added, gate, at, n) for gate in range(4))
        i = tirx.sigmoid(i + self._peep(0, at, old, n))
        f = tirx.sigmoid(f + self._peep(2, at, old, n))
        kept = store(self.cell, state + at, f * old + i * tirx.tanh(c), n)
        new = load(self.cell, state + at, n)
        value = tirx.sigmoid(o + self._peep(1, at, new, n)) * tirx.tanh(new)
        return [kept, *keep(at, value, n)]

    def _rnn(self, added: Expr, _state: Expr, at: Expr, n: int, keep: Any) -> list[Stmt]:
        return list(keep(at, tirx.tanh(self._gate(added, 0, at, n)), n))

    def _gru(self, added: Expr, state: Expr, at: Expr, n: int, keep: Any) -> list[Stmt]:
        z, r = (tirx.sigmoid(self._gate(added, gate, at, n)) for gate in range(2))
        h = tirx.tanh(self._from_input(added, 2, at, n) + r * self._from_state(2, at, n))
        return list(keep(at, h + z * (load(self.state, state + at, n) - h), n))

    def _gru_reset_before(self, added: Expr, state: Expr, keep: Any) -> list[Stmt]:
        def scale(at: Expr, n: int) -> list[Stmt]:
            r = tirx.sigmoid(self._gate(added, 1, at, n))
            return [store(self.scaled, at, r * load(self.state, state + at, n), n)]

        def new(at: Expr, n: int) -> list[Stmt]:
            z = tirx.sigmoid(self._gate(added, 0, at, n))
            h = tirx.tanh(self._gate(added, 2, at, n))
            return list(keep(at, h + z * (load(self.state, state + at, n) - h), n))

        first = 2 * self.hidden
        return [
            *self._dots(self.state, state, 0, first),
            *self._each(scale),
            *self._dots(self.scaled, 0, first, self.hidden),
            *self._each(new),
        ]
