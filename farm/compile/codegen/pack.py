"""Packs the image of a convolution, so that vectors of output pixels read contiguous memory.

The packed image holds, for each input channel and each column of the kernel, the rows that the
kernel column reads, cut to the output's width; stride and padding are resolved while packing:

    packed[c, kw, phase, row, x] = image[c, row * stride + phase - pad, x * stride + kw - pad]

It is made in bands of rows of the output, each of which a thread packs for itself and which is
small enough for the cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tvm import tirx

from farm.compile.codegen.rows import copy_row, zero_row
from farm.compile.codegen.tir import Expr, Stmt, Tensor, choose, loop, scratch
from farm.compile.groups import Group, Window
from farm.compile.target import Isa


@dataclass(frozen=True)
class Problem:
    """The sizes of a convolution; channels are those of one of its `groups`.

    bands: how many bands of rows the output is divided into.
    """

    batch: int
    groups: int
    in_channels: int
    out_channels: int
    in_size: tuple[int, int]
    out_size: tuple[int, int]
    window: Window
    bands: int = 1

    @classmethod
    def of(cls, group: Group) -> Problem:
        (n, c, h, w), (_, o, oh, ow) = group.operands[0], group.output
        assert group.window is not None
        g = group.groups
        return cls(n, g, c // g, o // g, (h, w), (oh, ow), group.window)

    @property
    def rows(self) -> int:
        """Rows of the output in a band."""
        return self.out_size[0] // self.bands

    @property
    def pixels(self) -> int:
        """Pixels of the output in a band."""
        return self.rows * self.out_size[1]

    @property
    def terms(self) -> int:
        """Products in the sum of one output."""
        return self.in_channels * self.window.kernel[0] * self.window.kernel[1]

    @property
    def needs_packing(self) -> bool:
        window = self.window
        return window.kernel != (1, 1) or window.stride != (1, 1) or any(window.pads)

    @property
    def phases(self) -> list[int]:
        """The rows modulo the stride that some row of the kernel reads."""
        window = self.window
        rows = range(window.kernel[0])
        return sorted({row * window.dilation[0] % window.stride[0] for row in rows})

    @property
    def packed_rows(self) -> int:
        """Rows of one phase in a band."""
        window = self.window
        return self.rows + (window.kernel[0] - 1) * window.dilation[0] // window.stride[0]

    @property
    def band_size(self) -> int:
        """Floats that the product reads for a band."""
        if not self.needs_packing:
            return self.groups * self.in_channels * self.pixels
        planes = self.groups * self.in_channels * self.window.kernel[1] * len(self.phases)
        return planes * self.packed_rows * self.out_size[1]

    def packed_index(self, channel: Expr, kernel_row: int, kernel_column: int) -> Expr:
        """Where a packed band has its first pixel for a tap of the kernel."""
        offset, phase = divmod(kernel_row * self.window.dilation[0], self.window.stride[0])
        plane = self.plane(channel, kernel_column, phase)
        return (plane * self.packed_rows + offset) * self.out_size[1]

    def plane(self, channel: Expr, kernel_column: int, phase: int) -> Expr:
        """The number of a plane of packed rows."""
        column = channel * self.window.kernel[1] + kernel_column
        return column * len(self.phases) + self.phases.index(phase)


@dataclass(frozen=True)
class Source:
    """What the matrix product reads: `buffer`, from `start` on, as `Problem.packed_index` says;
    a channel is `pitch` floats long where nothing had to be packed."""

    buffer: Any
    start: Expr
    pitch: int | None = None


def as_it_is(problem: Problem, image: Tensor, n: Expr, band: Expr) -> Source:
    """The image itself, for a convolution that needs no packing."""
    size = problem.in_size[0] * problem.in_size[1]
    start = n * problem.groups * problem.in_channels * size + band * problem.pixels
    return Source(image.flat, start, pitch=size)


@dataclass(frozen=True)
class Packing:
    """Packs bands of an image; relu: of max(image, 0)."""

    problem: Problem
    image: Tensor
    relu: bool
    isa: Isa

    def pack(self, n: Expr, band: Expr) -> tuple[Source, list[Stmt]]:
        """The packed band, and the statements that make it."""
        problem = self.problem
        packed, allocation = scratch("packed", problem.band_size)
        channels = problem.groups * problem.in_channels

        def channel(c: Expr) -> Iterator[Stmt]:
            start = (n * channels + c) * problem.in_size[0] * problem.in_size[1]
            for column in range(problem.window.kernel[1]):
                for phase in problem.phases:
                    yield self._plane(packed, start, band, (c, column, phase))

        return Source(packed, 0), [allocation, loop(channels, channel)]

    def _plane(self, packed: Any, start: Expr, band: Expr, place: tuple[Expr, int, int]) -> Stmt:
        """Packs the rows of one phase for one column of the kernel."""
        channel, column, phase = place
        problem, window = self.problem, self.problem.window
        (height, width), out_width = problem.in_size, problem.out_size[1]
        shift = column * window.dilation[1] - window.pads[1]
        plane = problem.plane(channel, column, phase) * problem.packed_rows

        def row(index: Expr) -> list[Stmt]:
            y = (band * problem.rows + index) * window.stride[0] + phase - window.pads[0]
            target = (plane + index) * out_width
            source = start + y * width
            sizes = (out_width, width, shift, window.stride[1])
            copy = copy_row(packed, target, self.image.flat, source, *sizes, self.relu, self.isa)
            if not self._may_leave(phase):
                return copy
            inside = tirx.all(y >= 0, y < height)
            return [choose(inside, copy, zero_row(packed, target, out_width, self.isa))]

        return loop(problem.packed_rows, row)

    def _may_leave(self, phase: int) -> bool:
        """Whether some packed row lies outside the image."""
        problem, stride = self.problem, self.problem.window.stride[0]
        rows = (problem.bands - 1) * problem.rows + problem.packed_rows
        first = phase - problem.window.pads[0]
        return first < 0 or first + (rows - 1) * stride >= problem.in_size[0]
