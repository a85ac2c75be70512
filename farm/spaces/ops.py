"""The operations that networks are made of: shapes and weights, no framework.

Tensors are float32 in NCHW layout, (N, C, H, W); after `GlobalAvgPool` they are (N, C). Every
operation says what comes out of it (`out_shape`), which weights its inference form takes
(`weights`, batch norm folded) and how many parameters its training form has (`parameters`).
Shapes that do not fit raise ValueError: that is a mistake in a search space, not in user input.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import ClassVar

Shape = tuple[int, ...]

NO_WEIGHTS: Mapping[str, Shape] = {}


@dataclass(frozen=True)
class _Weightless:
    def weights(self, *_: Shape) -> Mapping[str, Shape]:
        return NO_WEIGHTS

    def parameters(self, *_: Shape) -> int:
        return 0


@dataclass(frozen=True)
class Conv:
    """A convolution without bias, padded with zeros by `kernel // 2`; then batch norm, if asked.

    In: (N, C, H, W). Out: (N, channels, H', W') with H' = ceil(H / stride) for odd kernels.
    """

    kind: ClassVar[str] = "conv"
    channels: int
    kernel: int
    stride: int = 1
    groups: int = 1
    batch_norm: bool = True

    @property
    def padding(self) -> int:
        return self.kernel // 2

    def out_shape(self, x: Shape) -> Shape:
        n, c, h, w = x
        if c % self.groups or self.channels % self.groups:
            raise ValueError(f"`groups` must divide the channels {c} and {self.channels}, {self}")
        return (n, self.channels, *_slide((h, w), self.kernel, self.stride, self.padding))

    def weights(self, x: Shape) -> Mapping[str, Shape]:
        weight = (self.channels, x[1] // self.groups, self.kernel, self.kernel)
        return {"weight": weight} | ({"bias": (self.channels,)} if self.batch_norm else {})

    def parameters(self, x: Shape) -> int:
        return prod(self.weights(x)["weight"]) + 2 * self.channels * self.batch_norm


@dataclass(frozen=True)
class BatchNorm:
    """Batch norm that follows no convolution; at inference a scale and a shift for each channel."""

    kind: ClassVar[str] = "batch_norm"

    def out_shape(self, x: Shape) -> Shape:
        return x

    def weights(self, x: Shape) -> Mapping[str, Shape]:
        return {"scale": (x[1], 1, 1), "shift": (x[1], 1, 1)}

    def parameters(self, x: Shape) -> int:
        return 2 * x[1]


@dataclass(frozen=True)
class Relu(_Weightless):
    kind: ClassVar[str] = "relu"

    def out_shape(self, x: Shape) -> Shape:
        return x


@dataclass(frozen=True)
class AvgPool(_Weightless):
    """Average over a window; the padding does not count in the average."""

    kind: ClassVar[str] = "avg_pool"
    kernel: int
    stride: int
    padding: int

    def out_shape(self, x: Shape) -> Shape:
        return (*x[:2], *_slide(x[2:], self.kernel, self.stride, self.padding))


@dataclass(frozen=True)
class Add(_Weightless):
    """The sum of two tensors of one shape."""

    kind: ClassVar[str] = "add"

    def out_shape(self, a: Shape, b: Shape) -> Shape:
        if a != b:
            raise ValueError(f"both terms of a sum must have one shape, got {a} and {b}")
        return a


@dataclass(frozen=True)
class Zeros(_Weightless):
    """A tensor of zeros: what a cell node without a live input holds."""

    kind: ClassVar[str] = "zeros"
    shape: Shape

    def out_shape(self) -> Shape:
        return self.shape


@dataclass(frozen=True)
class ChannelShuffle(_Weightless):
    """Channels (groups, C / groups) transposed to (C / groups, groups): ShuffleNet, section 3.1."""

    kind: ClassVar[str] = "channel_shuffle"
    groups: int

    def out_shape(self, x: Shape) -> Shape:
        if x[1] % self.groups:
            raise ValueError(f"`groups` must divide the channels {x[1]}, got {self.groups}")
        return x


@dataclass(frozen=True)
class GlobalAvgPool(_Weightless):
    """The mean over H and W. In: (N, C, H, W). Out: (N, C)."""

    kind: ClassVar[str] = "global_avg_pool"

    def out_shape(self, x: Shape) -> Shape:
        return x[:2]


@dataclass(frozen=True)
class Linear:
    """x @ weight + bias. In: (N, C). Out: (N, features).

    The weight is (C, features), so that no backend has to transpose it at run time.
    """

    kind: ClassVar[str] = "linear"
    features: int

    def out_shape(self, x: Shape) -> Shape:
        return (x[0], self.features)

    def weights(self, x: Shape) -> Mapping[str, Shape]:
        return {"weight": (x[1], self.features), "bias": (self.features,)}

    def parameters(self, x: Shape) -> int:
        return (x[1] + 1) * self.features


Op = Conv | BatchNorm | Relu | AvgPool | Add | Zeros | ChannelShuffle | GlobalAvgPool | Linear


def _slide(sides: Shape, kernel: int, stride: int, padding: int) -> Shape:
    """Sizes after a window slid over `sides`, rounded down."""
    return tuple((side + 2 * padding - kernel) // stride + 1 for side in sides)
