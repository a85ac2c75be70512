"""Writing TIR by hand: flat views of tensors, vectors and loops.

Indices are int32 expressions or Python ints; a vector is `lanes` consecutive float32 values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from tvm import tirx

Expr = Any
"""A `tvm.ir.Expr`, or a Python number where TVM converts it."""

Stmt = Any

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Tensor:
    """A parameter of a kernel: `buffer` has its shape, `flat` is the same memory as (size,)."""

    shape: Shape
    buffer: Any
    flat: Any

    @classmethod
    def named(cls, name: str, shape: Shape) -> Tensor:
        buffer = tirx.decl_buffer(shape, "float32", name=name)
        return cls(shape, buffer, tirx.decl_buffer((prod(shape),), "float32", name=f"{name}_flat"))


def function(tensors: Sequence[Tensor], body: Iterable[Stmt]) -> Any:
    """The PrimFunc of `tensors`; no two of them overlap, and the last is the output."""
    views = [tirx.DeclBuffer(t.flat, data=tirx.buffer_data(t.buffer)) for t in tensors]
    func = tirx.PrimFunc([t.buffer for t in tensors], sequence([*views, *body]))
    return func.with_attr("tirx.noalias", True)


def sequence(statements: Iterable[Stmt]) -> Stmt:
    """One statement; TVM takes no sequence inside a sequence."""
    flat: list[Stmt] = []
    for statement in statements:
        flat.extend(statement.seq if isinstance(statement, tirx.SeqStmt) else [statement])
    return flat[0] if len(flat) == 1 else tirx.SeqStmt(flat)


def scratch(name: str, size: int) -> tuple[Any, Stmt]:
    """A buffer of `size` floats in memory, and the statement that makes it."""
    buffer = tirx.decl_buffer((size,), "float32", name=name)
    return buffer, tirx.AllocBuffer(buffer)


def load(buffer: Any, index: Expr, lanes: int) -> Expr:
    """The vector at `index`, or the scalar if `lanes` is 1."""
    return tirx.BufferLoad(buffer, [index if lanes == 1 else tirx.Ramp(index, 1, lanes)])


def store(buffer: Any, index: Expr, value: Expr, lanes: int) -> Stmt:
    return tirx.BufferStore(buffer, value, [index if lanes == 1 else tirx.Ramp(index, 1, lanes)])


def prefetch(buffer: Any, index: Expr) -> Stmt:
    """Asks for the cache line at `index`, which may lie behind the end of the buffer."""
    address = tirx.address_of(tirx.BufferLoad(buffer, [index]))
    read, keep, data = 0, 2, 1
    return tirx.Evaluate(tirx.call_intrin("void", "tirx.prefetch", address, read, keep, data))


def splat(value: Expr | float, lanes: int) -> Expr:
    """A vector of `lanes` equal values."""
    scalar = tirx.FloatImm("float32", value) if isinstance(value, float | int) else value
    return scalar if lanes == 1 else tirx.Broadcast(scalar, lanes)


def vector(values: Sequence[float]) -> Expr:
    """A constant vector."""
    scalars = [tirx.FloatImm("float32", value) for value in values]
    if len(set(values)) == 1:
        return splat(values[0], len(values))
    return tirx.Shuffle(scalars, list(range(len(values))))


def pick(vectors: Sequence[Expr], lanes: Sequence[int]) -> Expr:
    """The vector of the given lanes of the concatenation of `vectors`."""
    if len(lanes) == 1:
        return tirx.Shuffle(vectors, [lanes[0]])
    return tirx.Shuffle(vectors, list(lanes))


def horizontal_sum(value: Expr, lanes: int) -> Expr:
    """The sum of a vector's lanes, by halves."""
    while lanes > 1:
        lanes //= 2
        halves = pick([value], range(lanes)), pick([value], range(lanes, 2 * lanes))
        value = halves[0] + halves[1]
    return value


def loop(extent: int, body: Callable[[Expr], Iterable[Stmt]], parallel: bool = False) -> Stmt:
    """`body` for each index from 0 to `extent`; a loop of one turn is no loop."""
    if extent == 1:
        return sequence(body(0))
    index = tirx.Var("i", "int32")
    kind = tirx.ForKind.PARALLEL if parallel else tirx.ForKind.SERIAL
    return tirx.For(index, 0, extent, kind, sequence(body(index)))


def choose(condition: Expr, yes: Iterable[Stmt], no: Iterable[Stmt]) -> Stmt:
    return tirx.IfThenElse(condition, sequence(yes), sequence(no))


def divmod_index(index: Expr, size: int, count: int) -> tuple[Expr, Expr]:
    """(index // size, index % size) for 0 <= index < count * size."""
    return (0, index) if count == 1 else (tirx.indexdiv(index, size), tirx.indexmod(index, size))


def pieces(count: int, lanes: int) -> list[tuple[int, int]]:
    """(start, lanes) of vectors that cover `count` values exactly, in falling powers of two."""
    result, start = [], 0
    while start < count:
        width = min(lanes, 1 << ((count - start).bit_length() - 1))
        result.append((start, width))
        start += width
    return result


class Registers:
    """Accumulators that the compiler keeps in vector registers: (rows, columns) vectors.

    Each is a buffer of its own: TVM takes buffers of a kilobyte and more from the heap.
    """

    def __init__(self, rows: int, columns: int, lanes: int) -> None:
        self.rows, self.lanes = rows, lanes
        self._cells = {
            (row, column): tirx.decl_buffer((lanes,), "float32", name=f"sum{row}_{column}")
            for row in range(rows)
            for column in range(columns)
        }

    def allocate(self) -> list[Stmt]:
        """Makes them and sets all to zero."""
        zero = splat(0.0, self.lanes)
        zeros = [self.set(*cell, zero) for cell in self._cells]
        return [*map(tirx.AllocBuffer, self._cells.values()), *zeros]

    def get(self, row: int, column: int) -> Expr:
        return load(self._cells[row, column], 0, self.lanes)

    def set(self, row: int, column: int, value: Expr) -> Stmt:
        return store(self._cells[row, column], 0, value, self.lanes)
