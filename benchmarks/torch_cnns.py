"""Convolutional networks for images as PyTorch modules, written after their papers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn


def conv(
    inputs: int,
    outputs: int,
    kernel: int = 3,
    stride: int = 1,
    groups: int = 1,
    act: Callable[[], nn.Module] | None = nn.ReLU,
) -> nn.Sequential:
    """A convolution that keeps the size, batch norm, and `act`."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), *([act()] if act else []))


class _Residual(nn.Module):
    """x + body(x), or shortcut(x) + body(x), then `after`."""

    def __init__(
        self, body: nn.Module, shortcut: nn.Module | None = None, after: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut or nn.Identity()
        self.after = after or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.after(self.shortcut(x) + self.body(x))
        return result


def _classifier(features: int, classes: int = 1000) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(features, classes)]


# He et al. 2016, table 1


def resnet(counts: Sequence[int], bottleneck: bool) -> nn.Module:
    layers: list[nn.Module] = [conv(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)]
    inputs = 64
    for stage, count in enumerate(counts):
        width = 64 << stage
        outputs = width * 4 if bottleneck else width
        for index in range(count):
            stride = 2 if stage and not index else 1
            body = (
                [conv(inputs, width, 1), conv(width, width, 3, stride)]
                if bottleneck
                else [conv(inputs, width, 3, stride)]
            )
            last = conv(width, outputs, 1 if bottleneck else 3, act=None)
            changes = stride != 1 or inputs != outputs
            shortcut = conv(inputs, outputs, 1, stride, act=None) if changes else None
            layers.append(_Residual(nn.Sequential(*body, last), shortcut, nn.ReLU()))
            inputs = outputs
    return nn.Sequential(*layers, *_classifier(inputs))


# Sandler et al. 2018, table 2; Howard et al. 2019, table 1; Tan and Le 2019, table 1


class _SqueezeExcite(nn.Module):
    """Scales channels by what a small network makes of their means."""

    def __init__(
        self, channels: int, squeezed: int, act: type[nn.Module], gate: type[nn.Module]
    ) -> None:
        super().__init__()
        self.scale = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, squeezed, 1),
            act(),
            nn.Conv2d(squeezed, channels, 1),
            gate(),
        )

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x * self.scale(x)
        return result


@dataclass(frozen=True)
class _Bottleneck:
    """An inverted bottleneck: a 1x1 convolution to `hidden` channels, a depthwise one, and back."""

    hidden: int
    outputs: int
    kernel: int
    stride: int
    act: type[nn.Module]
    excite: Callable[[int, int], nn.Module] | None = None

    def module(self, inputs: int) -> nn.Module:
        layers: list[nn.Module] = []
        if self.hidden != inputs:
            layers.append(conv(inputs, self.hidden, 1, act=self.act))
        layers.append(
            conv(self.hidden, self.hidden, self.kernel, self.stride, self.hidden, self.act)
        )
        if self.excite:
            layers.append(self.excite(self.hidden, inputs))
        layers.append(conv(self.hidden, self.outputs, 1, act=None))
        body = nn.Sequential(*layers)
        return _Residual(body) if self.stride == 1 and inputs == self.outputs else body


def _inverted(stem: int, act: type[nn.Module], blocks: Sequence[_Bottleneck]) -> list[nn.Module]:
    layers: list[nn.Module] = [conv(3, stem, 3, 2, act=act)]
    inputs = stem
    for block in blocks:
        layers.append(block.module(inputs))
        inputs = block.outputs
    return layers


def mobilenet_v2() -> nn.Module:
    rows = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1)]
    rows += [(6, 160, 3, 2), (6, 320, 1, 1)]
    blocks, inputs = [], 32
    for expansion, outputs, count, stride in rows:
        for index in range(count):
            step = 1 if index else stride
            blocks.append(_Bottleneck(inputs * expansion, outputs, 3, step, nn.ReLU6))
            inputs = outputs
    layers = _inverted(32, nn.ReLU6, blocks)
    return nn.Sequential(*layers, conv(320, 1280, 1, act=nn.ReLU6), *_classifier(1280))


def mobilenet_v3() -> nn.Module:
    def excite(hidden: int, _inputs: int) -> nn.Module:
        return _SqueezeExcite(hidden, max(8, hidden // 4 // 8 * 8), nn.ReLU, nn.Hardsigmoid)

    rows = [(16, 16, 3, 1, 0, 0), (64, 24, 3, 2, 0, 0), (72, 24, 3, 1, 0, 0), (72, 40, 5, 2, 1, 0)]
    rows += [(120, 40, 5, 1, 1, 0)] * 2 + [(240, 80, 3, 2, 0, 1), (200, 80, 3, 1, 0, 1)]
    rows += [(184, 80, 3, 1, 0, 1)] * 2 + [(480, 112, 3, 1, 1, 1), (672, 112, 3, 1, 1, 1)]
    rows += [(672, 160, 5, 2, 1, 1)] + [(960, 160, 5, 1, 1, 1)] * 2
    blocks = [
        _Bottleneck(h, o, k, s, nn.Hardswish if hard else nn.ReLU, excite if scaled else None)
        for h, o, k, s, scaled, hard in rows
    ]
    layers = _inverted(16, nn.Hardswish, blocks)
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(960, 1280), nn.Hardswish()]
    return nn.Sequential(*layers, conv(160, 960, 1, act=nn.Hardswish), *head, nn.Linear(1280, 1000))


def efficientnet_b0() -> nn.Module:
    def excite(hidden: int, inputs: int) -> nn.Module:
        return _SqueezeExcite(hidden, inputs // 4, nn.SiLU, nn.Sigmoid)

    rows = [(1, 3, 16, 1, 1), (6, 3, 24, 2, 2), (6, 5, 40, 2, 2), (6, 3, 80, 3, 2)]
    rows += [(6, 5, 112, 3, 1), (6, 5, 192, 4, 2), (6, 3, 320, 1, 1)]
    blocks, inputs = [], 32
    for expansion, kernel, outputs, count, stride in rows:
        for index in range(count):
            step = 1 if index else stride
            blocks.append(_Bottleneck(inputs * expansion, outputs, kernel, step, nn.SiLU, excite))
            inputs = outputs
    layers = _inverted(32, nn.SiLU, blocks)
    return nn.Sequential(*layers, conv(320, 1280, 1, act=nn.SiLU), *_classifier(1280))


# Iandola et al. 2016, table 1 (version 1.1)


class _Fire(nn.Module):
    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Sequential(nn.Conv2d(inputs, squeezed, 1), nn.ReLU())
        self.one = nn.Sequential(nn.Conv2d(squeezed, expanded, 1), nn.ReLU())
        self.three = nn.Sequential(nn.Conv2d(squeezed, expanded, 3, padding=1), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze(x)
        return torch.cat([self.one(x), self.three(x)], 1)


def squeezenet() -> nn.Module:
    pool = partial(nn.MaxPool2d, 3, 2, ceil_mode=True)
    return nn.Sequential(
        *[nn.Conv2d(3, 64, 3, 2), nn.ReLU(), pool(), _Fire(64, 16, 64), _Fire(128, 16, 64)],
        *[pool(), _Fire(128, 32, 128), _Fire(256, 32, 128), pool(), _Fire(256, 48, 192)],
        *[_Fire(384, 48, 192), _Fire(384, 64, 256), _Fire(512, 64, 256)],
        *[nn.Conv2d(512, 1000, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()],
    )


# Ma et al. 2018, figure 3 and table 5 (1x)


class _Shuffle(nn.Module):
    """A unit: half of the channels pass, or both halves are made anew where the size shrinks."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        half = outputs // 2
        self.stride = stride
        entering = inputs if stride == 2 else half
        depthwise = partial(conv, kernel=3, stride=stride, act=None)
        self.left = nn.Sequential(depthwise(inputs, inputs, groups=inputs), conv(inputs, half, 1))
        self.right = nn.Sequential(
            conv(entering, half, 1), depthwise(half, half, groups=half), conv(half, half, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == 2:
            left, right = self.left(x), self.right(x)
        else:
            left, part = x.chunk(2, 1)
            right = self.right(part)
        x = torch.cat([left, right], 1)
        n, c, h, w = x.shape
        return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


def shufflenet() -> nn.Module:
    layers: list[nn.Module] = [conv(3, 24, 3, 2), nn.MaxPool2d(3, 2, 1)]
    inputs = 24
    for outputs, count in ((116, 4), (232, 8), (464, 4)):
        layers.append(_Shuffle(inputs, outputs, 2))
        layers += [_Shuffle(outputs, outputs, 1) for _ in range(count - 1)]
        inputs = outputs
    return nn.Sequential(*layers, conv(464, 1024, 1), *_classifier(1024))
