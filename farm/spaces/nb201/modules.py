"""NAS-Bench-201 networks as PyTorch runs them: every edge of a cell, needed or not.

The graphs of `graph` hold what the output needs. Published proxies and PyTorch's latencies
are of networks that compute the rest, too: edges that lead nowhere, and convolutions of zeros.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from farm.spaces.nb201.graph import CELLS_PER_STAGE, CLASSES, EDGES, KERNELS, STAGE_SHAPES, Cell


def every_edge(cell: Cell) -> nn.Module:
    """The network of `cell`, (N, 3, 32, 32) to (N, CLASSES), with torch's own initial weights."""
    stem = STAGE_SHAPES[0][1]
    parts: list[nn.Module] = [nn.Conv2d(3, stem, 3, padding=1, bias=False), nn.BatchNorm2d(stem)]
    for stage, (_, channels, _, _) in enumerate(STAGE_SHAPES):
        if stage:
            parts.append(_Residual(STAGE_SHAPES[stage - 1][1], channels))
        parts += [_Cell(cell, channels) for _ in range(CELLS_PER_STAGE)]
    last = STAGE_SHAPES[-1][1]
    parts += [nn.BatchNorm2d(last), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*parts, nn.Linear(last, CLASSES))


class _Cell(nn.Module):
    """Nodes are sums of their incoming edges."""

    def __init__(self, cell: Cell, channels: int) -> None:
        super().__init__()
        self.edges = nn.ModuleList([_edge(operation, channels) for operation in cell])

    def forward(self, x: Tensor) -> Tensor:
        nodes = [x, torch.zeros_like(x), torch.zeros_like(x), torch.zeros_like(x)]
        for edge, (source, target) in sorted(
            zip(self.edges, EDGES, strict=True), key=lambda pair: pair[1][1]
        ):
            nodes[target] = nodes[target] + edge(nodes[source])
        return nodes[3]


class _Zero(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)


class _Residual(nn.Module):
    """Halves the sides."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_conv(in_channels, channels, 3, stride=2), *_conv(channels, channels, 3)
        )
        narrow = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.shortcut = nn.Sequential(nn.AvgPool2d(2, 2), narrow)

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = self.shortcut(x) + self.body(x)
        return total


def _edge(operation: str, channels: int) -> nn.Module:
    if operation in KERNELS:
        return _conv(channels, channels, KERNELS[operation])
    if operation == "avg_pool_3x3":
        return nn.AvgPool2d(3, 1, 1, count_include_pad=False)
    return nn.Identity() if operation == "skip_connect" else _Zero()


def _conv(in_channels: int, channels: int, kernel: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, channels, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(nn.ReLU(), conv, nn.BatchNorm2d(channels))
