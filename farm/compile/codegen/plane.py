"""One channel of an image in scratch memory, for kernels that slide a window over each channel.

It is padded, and with a stride its rows and columns are dealt out by their phase, so that what
neighbouring outputs read is contiguous again: (phases, phases, rows, pitch). Large channels are
taken in bands of rows of the output.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from tvm import tirx

from farm.compile.codegen.rows import copy_row, zero_row
from farm.compile.codegen.tir import Expr, Stmt, choose, loop
from farm.compile.groups import Group, Window
from farm.compile.target import Isa

SCRATCH = 4096
"""Floats of scratch memory: a part of the first-level cache."""

_BAND_ROWS = 4
"""Fewest rows of the output in a band; each band copies the rows around it, too."""


@dataclass(frozen=True)
class Plane:
    """The layout of a channel; relu: it holds max(image, 0)."""

    in_size: tuple[int, int]
    out_size: tuple[int, int]
    window: Window
    isa: Isa
    relu: bool
    bands: int = 1

    @classmethod
    def of(cls, group: Group, isa: Isa, banded: bool) -> Plane:
        """banded: whether it may be taken in bands."""
        assert group.window is not None
        (_, _, h, w), (_, _, oh, ow) = group.operands[0], group.output
        whole = cls((h, w), (oh, ow), group.window, isa, group.relu_input)
        counts = [n for n in range(1, oh // _BAND_ROWS + 1) if oh % n == 0] if banded else [1]
        planes = [replace(whole, bands=n) for n in counts] or [whole]
        return next((plane for plane in planes if plane.size <= SCRATCH), planes[-1])

    @property
    def lanes(self) -> int:
        """Of the vectors along a row of the output; narrow rows fill one only partly."""
        return min(self.isa.lanes, 1 << (self.out_size[1] - 1).bit_length())

    @property
    def out_rows(self) -> int:
        """Rows of the output in a band."""
        return self.out_size[0] // self.bands

    @property
    def rows(self) -> int:
        """Rows of one phase in a band."""
        return self.out_rows + self._span(0) // self.window.stride[0]

    @property
    def pitch(self) -> int:
        """Values in a row, with room for a whole vector where the output is narrower than one."""
        width = max(self.out_size[1], self.lanes)
        return width + self._span(1) // self.window.stride[1]

    @property
    def size(self) -> int:
        """Floats of a band."""
        return self._phases(0) * self._phases(1) * self.rows * self.pitch

    def index(self, tap_row: int, tap_column: int, row: Expr, column: Expr) -> Expr:
        """Where the value is that a tap of the kernel reads for output (row, column) of a band."""
        (sy, sx), (dy, dx) = self.window.stride, self.window.dilation
        (oy, py), (ox, px) = divmod(tap_row * dy, sy), divmod(tap_column * dx, sx)
        return self._start(py, px) + (oy + row) * self.pitch + ox + column

    def fill(
        self, buffer: Any, base: Expr, image: Any, channel: Expr, band: Expr
    ) -> Iterator[Stmt]:
        """Fills the scratch memory at `base` with a band of a channel."""
        source = channel * self.in_size[0] * self.in_size[1]
        for py, px in product(range(self._phases(0)), range(self._phases(1))):
            yield self._phase(buffer, base + self._start(py, px), image, source, (py, px), band)

    def _phases(self, axis: int) -> int:
        return min(self.window.stride[axis], self._span(axis) + 1)

    def _span(self, axis: int) -> int:
        return (self.window.kernel[axis] - 1) * self.window.dilation[axis]

    def _start(self, phase_row: int, phase_column: int) -> int:
        return (phase_row * self._phases(1) + phase_column) * self.rows * self.pitch

    def _phase(
        self, buffer: Any, base: Expr, image: Any, source: Expr, phase: tuple[int, int], band: Expr
    ) -> Stmt:
        (height, width), window = self.in_size, self.window
        shift = phase[1] - window.pads[1]

        def row(index: Expr) -> list[Stmt]:
            y = (band * self.out_rows + index) * window.stride[0] + phase[0] - window.pads[0]
            target = base + index * self.pitch
            sizes = (self.pitch, width, shift, window.stride[1])
            copy = copy_row(buffer, target, image, source + y * width, *sizes, self.relu, self.isa)
            inside = tirx.all(y >= 0, y < height)
            return [choose(inside, copy, zero_row(buffer, target, self.pitch, self.isa))]

        return loop(self.rows, row)
