"""A graph as a torch module, in its training form, for what needs gradients.

Convolutions are `nn.Conv2d`, each followed by its `nn.BatchNorm2d`, with torch's own initial
weights. In eval mode the module computes what the ONNX model computes on `folded_weights`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from farm.core.arguments import INPUT_NAME
from farm.spaces import ops
from farm.spaces.graph import Graph, Node
from farm.spaces.ops import Shape


class GraphModule(nn.Module):
    """The network of `graph`; its layers are named as the graph's nodes.

    Takes any batch size: (N, C, H, W) float32 to (N, classes), whatever N the graph has.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph
        self.layers = nn.ModuleDict({node.name: _layer(graph, node) for node in graph.nodes})

    def forward(self, x: Tensor) -> Tensor:
        values = {INPUT_NAME: x}
        for node in self.graph.nodes:
            inputs = [values[name] for name in node.inputs] or [x]
            values[node.name] = self.layers[node.name](*inputs)
        return values[self.graph.output]


class ConvNorm(nn.Module):
    """A convolution and its batch norm."""

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.conv = conv
        self.norm = norm

    def forward(self, x: Tensor) -> Any:
        return self.norm(self.conv(x))


class Sum(nn.Module):
    """The sum of two tensors."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b


class ZerosLike(nn.Module):
    """Zeros of a given (C, H, W), for each image of the network's input."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        return x.new_zeros((x.shape[0], *self.shape))


def to_torch(graph: Graph) -> GraphModule:
    """The training form of `graph`, in training mode, with torch's initial weights."""
    return GraphModule(graph)


def folded_weights(module: GraphModule) -> list[NDArray[np.float32]]:
    """The weights of the inference form, float32, in the order of `Graph.weights`.

    Batch norm uses its running statistics. They are copies: training on changes nothing here.
    """
    return [
        weight.detach().cpu().numpy().astype(np.float32, copy=True)
        for layer in module.layers.values()
        for weight in _inference_weights(layer)
    ]


def _layer(graph: Graph, node: Node) -> nn.Module:
    match node.op:
        case ops.Conv() as conv:
            return _conv(conv, graph.shapes[node.inputs[0]][1])
        case ops.BatchNorm():
            return nn.BatchNorm2d(graph.shapes[node.name][1])
        case ops.Relu():
            return nn.ReLU()
        case ops.AvgPool(kernel, stride, padding):
            return nn.AvgPool2d(kernel, stride, padding, count_include_pad=False)
        case ops.Add():
            return Sum()
        case ops.Zeros(shape):
            return ZerosLike(shape[1:])
        case ops.ChannelShuffle(groups):
            return nn.ChannelShuffle(groups)
        case ops.GlobalAvgPool():
            return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        case ops.Linear(features):
            return nn.Linear(graph.shapes[node.inputs[0]][1], features)


def _conv(conv: ops.Conv, in_channels: int) -> nn.Module:
    layer = nn.Conv2d(
        in_channels,
        conv.channels,
        conv.kernel,
        conv.stride,
        conv.padding,
        groups=conv.groups,
        bias=False,
    )
    return ConvNorm(layer, nn.BatchNorm2d(conv.channels)) if conv.batch_norm else layer


def _inference_weights(layer: nn.Module) -> Iterator[Tensor]:
    """The folded weights of one layer of a `GraphModule`, in the order of `Op.weights`."""
    match layer:
        case nn.Conv2d():
            yield layer.weight
        case nn.BatchNorm2d():
            yield from (part[:, None, None] for part in _scale_and_shift(layer))
        case nn.Linear():
            yield from (layer.weight.T, layer.bias)
        case ConvNorm():
            scale, shift = _scale_and_shift(layer.norm)
            yield from (layer.conv.weight * scale[:, None, None, None], shift)


def _scale_and_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """A batch norm in eval mode as x * scale + shift; (C,) each."""
    assert norm.running_mean is not None, "every batch norm here tracks its statistics"
    assert norm.running_var is not None, "every batch norm here tracks its statistics"
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale
