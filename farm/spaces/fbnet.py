"""FBNet (Wu et al. 2019, arXiv:1812.03443): 22 layers, nine candidate blocks for each.

Skeleton and blocks are those of tables 1 and 2 of the paper as HW-NAS-Bench (Li et al. 2021,
arXiv:2103.10584) and HELP measured them, which fixes what the paper leaves open: where shapes
change, `skip` is a 1x1 convolution with batch norm and ReLU; in the blocks with two groups the
channels are shuffled after the first convolution; ReLU follows every convolution except a
block's last. `fbnet` is the ImageNet network. `fbnet32` is HW-NAS-Bench's for CIFAR-100: no
stride in the stem and in the second stage, and 1,504 channels in the head instead of 1,984.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from farm.core.errors import NetworkSyntaxError
from farm.core.values import Network
from farm.spaces.codes import operation_index, quoted
from farm.spaces.counts import ANALYTIC_NAMES, analytic_features, count_vector, depth
from farm.spaces.graph import INPUT, Graph, Value, apply, build
from farm.spaces.onnx.export import to_onnx
from farm.spaces.ops import Add, ChannelShuffle, Conv, GlobalAvgPool, Linear, Op, Relu, Shape


@dataclass(frozen=True)
class Block:
    """An inverted residual: 1x1 convolution to `expansion` times the channels, depthwise, 1x1."""

    kernel: int
    expansion: int
    groups: int = 1


BLOCKS = {
    "k3_e1": Block(3, 1),
    "k3_e1_g2": Block(3, 1, groups=2),
    "k3_e3": Block(3, 3),
    "k3_e6": Block(3, 6),
    "k5_e1": Block(5, 1),
    "k5_e1_g2": Block(5, 1, groups=2),
    "k5_e3": Block(5, 3),
    "k5_e6": Block(5, 6),
}

OPERATIONS = (*BLOCKS, "skip")
"""In the order of the published tables: a code's digit is a position here."""

STEM_CHANNELS = 16
STAGE_CHANNELS = (16, 24, 32, 64, 112, 184, 352)
STAGE_LAYERS = (1, 4, 4, 4, 4, 4, 1)
LAYERS = sum(STAGE_LAYERS)


@dataclass(frozen=True)
class Layer:
    """One of the 22 places for a block. side: height and width of its input, in pixels."""

    in_channels: int
    channels: int
    stride: int
    side: int

    @property
    def keeps_shape(self) -> bool:
        return self.stride == 1 and self.in_channels == self.channels


@dataclass(frozen=True)
class FBNet:
    """The search space; a network's code is 22 digits, each a position in `OPERATIONS`.

    side: height and width of the input image, which is (1, 3, side, side).
    stage_strides: stride of the first layer of each stage.
    """

    name: str
    side: int
    stem_stride: int
    stage_strides: tuple[int, ...]
    head_channels: int
    classes: int

    @property
    def size(self) -> int:
        """9^22 = 9.8e20."""
        return int(len(OPERATIONS) ** LAYERS)

    @property
    def input_shape(self) -> Shape:
        return (1, 3, self.side, self.side)

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The 22 layers, from the input to the output."""
        layers: list[Layer] = []
        channels, side = STEM_CHANNELS, self.side // self.stem_stride
        stages = zip(STAGE_CHANNELS, STAGE_LAYERS, self.stage_strides, strict=True)
        for out_channels, depth_of_stage, first_stride in stages:
            for stride in (first_stride, *[1] * (depth_of_stage - 1)):
                layers.append(Layer(channels, out_channels, stride, side))
                channels, side = out_channels, side // stride
        return tuple(layers)

    def parse(self, text: str) -> Network:
        """The network of 22 digits, or of 22 positions or names of operations in a row.

        They may be separated by commas, spaces or dashes. Raises NetworkSyntaxError.
        """
        return self._network(parse_layers(text))

    def sample(self, n: int, rng: np.random.Generator) -> list[Network]:
        """n distinct networks, each set equally likely. Raises ValueError if there are fewer."""
        if not 0 <= n <= self.size:
            raise ValueError(f"a sample of {self.name} holds 0 to {self.size} networks, got {n}")
        chosen: dict[Network, None] = {}
        while len(chosen) < n:
            rows = rng.integers(len(OPERATIONS), size=(n - len(chosen), LAYERS))
            chosen.update((self._network(row), None) for row in rows)
        return list(chosen)

    def neighbours(self, network: Network) -> list[Network]:
        """The 176 networks in which one layer holds another block."""
        digits = parse_layers(network.code)
        return [
            self._network([*digits[:layer], digit, *digits[layer + 1 :]])
            for layer in range(LAYERS)
            for digit in range(len(OPERATIONS))
            if digit != digits[layer]
        ]

    def graph(self, network: Network) -> Graph:
        """The network as a graph."""
        x = _conv_relu(INPUT, Conv(STEM_CHANNELS, 3, stride=self.stem_stride))
        for layer, digit in zip(self.layers, parse_layers(network.code), strict=True):
            x = _layer(x, layer, OPERATIONS[digit])
        x = _conv_relu(x, Conv(self.head_channels, 1))
        return build(self.input_shape, _chain(x, GlobalAvgPool(), Linear(self.classes)))

    def representatives(self, networks: Sequence[Network]) -> list[Network]:
        """The networks themselves: no two have one graph."""
        return list(networks)

    def model(self, network: Network) -> ModelProto:
        """The network as an ONNX model."""
        return to_onnx(self.graph(network))

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the columns of `features`."""
        layers = (f"layer{layer}={name}" for layer in range(LAYERS) for name in OPERATIONS)
        return (*layers, *(f"count={name}" for name in OPERATIONS), *ANALYTIC_NAMES)

    def features(self, networks: Sequence[Network]) -> NDArray[np.float64]:
        """(N, 218) float64, not standardised; columns as in `feature_names`.

        198 columns: is this block in this layer. 9: how many layers hold this block. The others
        are `counts.analytic_features`: MACs, and log(1 + x) of MACs by kind of convolution,
        parameters, kernels, activation traffic and depth.
        """
        digits = np.array([parse_layers(network.code) for network in networks], dtype=int)
        digits = digits.reshape(-1, LAYERS)
        held = np.eye(len(OPERATIONS))[digits]
        totals = self._frame + self._costs[np.arange(LAYERS), digits].sum(axis=1)
        analytic = analytic_features(totals[:, :-1], totals[:, -1])
        layers = [held[:, layer] for layer in range(LAYERS)]
        return np.column_stack([*layers, held.sum(axis=1), analytic])

    @cached_property
    def _costs(self) -> NDArray[np.float64]:
        """(22, 9, len(COUNTS) + 1): counts and depth of each block in each layer.

        Layers follow each other, so their counts and depths add up to the network's.
        """
        return np.array(
            [[_cost(_layer_graph(layer, name)) for name in OPERATIONS] for layer in self.layers]
        )

    @cached_property
    def _frame(self) -> NDArray[np.float64]:
        """(len(COUNTS) + 1,): counts and depth of the stem and the head."""
        skips = OPERATIONS.index("skip")
        whole = _cost(self.graph(self._network([skips] * LAYERS)))
        frame: NDArray[np.float64] = whole - self._costs[:, skips].sum(axis=0)
        return frame

    def _network(self, digits: Sequence[int] | NDArray[np.int64]) -> Network:
        return Network(self.name, "".join(str(digit) for digit in digits))


def fbnet() -> FBNet:
    """FBNet for ImageNet: 1x3x224x224, 1,000 classes (table 1)."""
    return FBNet("fbnet", 224, 2, (1, 2, 2, 2, 1, 2, 1), head_channels=1984, classes=1000)


def fbnet32() -> FBNet:
    """FBNet for CIFAR-100 as in HW-NAS-Bench: 1x3x32x32, 100 classes."""
    return FBNet("fbnet32", 32, 1, (1, 1, 2, 2, 1, 2, 1), head_channels=1504, classes=100)


def parse_layers(text: str) -> list[int]:
    """Positions in `OPERATIONS`, one for each layer. Raises NetworkSyntaxError."""
    tokens = [token for token in re.split(r"[\s,-]+", text) if token]
    if len(tokens) == 1 and tokens[0].isdecimal():
        tokens = list(tokens[0])
    if len(tokens) != LAYERS:
        raise NetworkSyntaxError(
            f"an FBNet code has {LAYERS} digits 0-{len(OPERATIONS) - 1} (or names of blocks), "
            f"got {len(tokens)} in {quoted(text)}"
        )
    return [_digit(token) for token in tokens]


def _digit(token: str) -> int:
    if token in "012345678":
        return int(token)
    return operation_index(token, OPERATIONS, also=", or their positions 0-8")


def _layer(x: Value, layer: Layer, name: str) -> Value:
    if name == "skip":
        skip = Conv(layer.channels, 1, stride=layer.stride)
        return x if layer.keeps_shape else _conv_relu(x, skip)
    y = _block(x, layer, BLOCKS[name])
    return apply(Add(), y, x) if layer.keeps_shape else y


def _block(x: Value, layer: Layer, block: Block) -> Value:
    width = layer.in_channels * block.expansion
    y = _conv_relu(x, Conv(width, 1, groups=block.groups))
    if block.groups > 1:
        y = apply(ChannelShuffle(block.groups), y)
    y = _conv_relu(y, Conv(width, block.kernel, stride=layer.stride, groups=width))
    return apply(Conv(layer.channels, 1, groups=block.groups), y)


def _conv_relu(x: Value, conv: Conv) -> Value:
    return _chain(x, conv, Relu())


def _chain(x: Value, *ops: Op) -> Value:
    return reduce(lambda value, op: apply(op, value), ops, x)


def _layer_graph(layer: Layer, name: str) -> Graph:
    """A layer alone, as a graph from its input to its output."""
    return build((1, layer.in_channels, layer.side, layer.side), _layer(INPUT, layer, name))


def _cost(graph: Graph) -> NDArray[np.float64]:
    """(len(COUNTS) + 1,): counts, in the order of `COUNTS`, and depth."""
    return np.append(count_vector(graph), depth(graph))
