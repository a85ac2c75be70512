"""Common networks as PyTorch modules with seeded weights, exported to ONNX on the spot.

Written after their papers, for inference only: the operators, shapes and sizes are those of the
published networks, the weights are random. Class counts, where papers leave them open, are 1000.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.torch_cnns import (
    conv,
    efficientnet_b0,
    mobilenet_v2,
    mobilenet_v3,
    resnet,
    shufflenet,
    squeezenet,
)

OPSET = 17
VOCABULARY = 1000


@dataclass(frozen=True)
class Network:
    """make: the module. inputs: what it is exported with, and so the shapes of the file."""

    make: Callable[[], nn.Module]
    inputs: Callable[[], tuple[Tensor, ...]]


def export(name: str, path: Path, seed: int) -> None:
    """Write the network of that name as an ONNX file with weights in it."""
    torch.manual_seed(seed)
    network = NETWORKS[name]
    module = network.make().eval()
    _settle(module)
    with warnings.catch_warnings():
        # The exporter through TorchScript is old, needs no further package, and says both.
        warnings.simplefilter("ignore")
        torch.onnx.export(module, network.inputs(), str(path), opset_version=OPSET, dynamo=False)


def _settle(module: nn.Module) -> None:
    """Gives batch norms statistics other than the 0 and 1 that they begin with."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            for values, low, high in ((part.running_mean, -0.1, 0.1), (part.running_var, 0.5, 1.5)):
                assert values is not None
                nn.init.uniform_(values, low, high)


# Vaswani et al. 2017, as Dosovitskiy et al. 2021 and Devlin et al. 2019 use it


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        n, length, width = x.shape
        size = width // self.heads
        parts = self.qkv(x).view(n, length, 3, self.heads, size).permute(2, 0, 3, 1, 4)
        q, k, v = parts[0], parts[1], parts[2]
        scores = q @ k.transpose(-2, -1) * size**-0.5
        scores = scores if bias is None else scores + bias
        mixed = scores.softmax(-1) @ v
        result: Tensor = self.out(mixed.transpose(1, 2).reshape(n, length, width))
        return result


class _Encoder(nn.Module):
    """A transformer layer; norms come before the parts (ViT) or after the sums (BERT)."""

    def __init__(self, width: int, heads: int, norm_first: bool) -> None:
        super().__init__()
        self.norm_first = norm_first
        self.attention = _Attention(width, heads)
        hidden = 4 * width
        self.dense = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        first, second = self.norms
        if self.norm_first:
            x = x + self.attention(first(x), bias)
            result: Tensor = x + self.dense(second(x))
        else:
            x = first(x + self.attention(x, bias))
            result = second(x + self.dense(x))
        return result


class _Vit(nn.Module):
    """ViT-Tiny's width and heads, six layers, patches of 16."""

    def __init__(self, width: int = 192, heads: int = 3, layers: int = 6, size: int = 224) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 16, 16)
        self.token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.positions = nn.Parameter(torch.randn(1, (size // 16) ** 2 + 1, width) * 0.02)
        self.layers = nn.Sequential(*(_Encoder(width, heads, True) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token, x], 1) + self.positions
        result: Tensor = self.head(self.norm(self.layers(x))[:, 0])
        return result


class _Bert(nn.Module):
    """BERT-Mini's width and heads: token ids and an attention mask, both int64."""

    def __init__(self, width: int = 256, heads: int = 4, layers: int = 4, length: int = 64) -> None:
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, width)
        self.positions = nn.Parameter(torch.randn(1, length, width) * 0.02)
        self.norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(_Encoder(width, heads, False) for _ in range(layers))
        self.head = nn.Linear(width, VOCABULARY)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        bias = (1.0 - mask[:, None, None, :].to(torch.float32)) * -10000.0
        x = self.norm(self.words(tokens) + self.positions)
        for layer in self.layers:
            x = layer(x, bias)
        result: Tensor = self.head(x)
        return result


class _Tagger(nn.Module):
    """Token ids, a two-way recurrent layer, and a label for each token."""

    def __init__(self, layer: Callable[..., nn.RNNBase], width: int = 128) -> None:
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, width)
        self.layer = layer(width, width, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * width, 20)

    def forward(self, tokens: Tensor) -> Tensor:
        result: Tensor = self.head(self.layer(self.words(tokens))[0])
        return result


# Ronneberger et al. 2015, a quarter as wide, padded; Redmon and Farhadi 2018, its last layers


class _Unet(nn.Module):
    def __init__(self, width: int = 16, levels: int = 4) -> None:
        super().__init__()
        widths = [width << level for level in range(levels)]
        pairs = list(zip([3, *widths], widths, strict=False))
        self.down = nn.ModuleList(self._twice(a, b) for a, b in pairs)
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, 2) for w in reversed(widths[:-1]))
        self.merge = nn.ModuleList(self._twice(2 * w, w) for w in reversed(widths[:-1]))
        self.head = nn.Conv2d(width, 2, 1)

    @staticmethod
    def _twice(inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(conv(inputs, outputs), conv(outputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        kept: list[Tensor] = []
        for level, down in enumerate(self.down):
            x = down(functional.max_pool2d(x, 2) if level else x)
            kept.append(x)
        kept.pop()
        for up, merge in zip(self.up, self.merge, strict=True):
            x = merge(torch.cat([kept.pop(), up(x)], 1))
        result: Tensor = self.head(x)
        return result


class _Yolo(nn.Module):
    """Two scales with three anchors each: boxes, an objectness and class scores for each cell."""

    def __init__(self, classes: int = 80) -> None:
        super().__init__()
        act = partial(nn.LeakyReLU, 0.1)
        self.outputs = classes + 5
        self.stem = nn.Sequential(
            conv(3, 16, 3, 2, act=act), conv(16, 32, 3, 2, act=act), conv(32, 64, 3, 2, act=act)
        )
        self.middle = conv(64, 128, 3, 2, act=act)
        self.low = conv(128, 256, 3, 2, act=act)
        self.squeeze = conv(256, 64, 1, act=act)
        self.merged = conv(64 + 128, 128, 3, act=act)
        self.heads = nn.ModuleList(nn.Conv2d(w, 3 * self.outputs, 1) for w in (256, 128))
        anchors = torch.tensor([10.0, 13, 16, 30, 33, 23, 30, 61, 62, 45, 59, 119])
        self.anchors = nn.Parameter(anchors.view(2, 1, 3, 1, 1, 2))

    def forward(self, x: Tensor) -> Tensor:
        middle = self.middle(self.stem(x))
        low = self.low(middle)
        up = functional.interpolate(self.squeeze(low), scale_factor=2.0, mode="nearest")
        features = (low, self.merged(torch.cat([up, middle], 1)))
        return torch.cat([self._boxes(i, f) for i, f in enumerate(features)], 1)

    def _boxes(self, scale: int, features: Tensor) -> Tensor:
        y = self.heads[scale](features)
        n, _, h, w = y.shape
        y = y.view(n, 3, self.outputs, h, w).permute(0, 1, 3, 4, 2).sigmoid()
        rows, columns = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
        grid = torch.stack([columns, rows], -1).to(torch.float32).view(1, 1, h, w, 2)
        centre = (y[..., :2] * 2 - 0.5 + grid) * (16 >> scale)
        size = (y[..., 2:4] * 2) ** 2 * self.anchors[scale]
        return torch.cat([centre, size, y[..., 4:]], -1).reshape(n, -1, self.outputs)


def _image(size: int = 224) -> tuple[Tensor, ...]:
    return (torch.randn(1, 3, size, size),)


def _tokens(length: int = 64) -> tuple[Tensor, ...]:
    return (torch.randint(0, VOCABULARY, (1, length)),)


def _tokens_and_mask() -> tuple[Tensor, ...]:
    return (*_tokens(), torch.ones(1, 64, dtype=torch.int64))


NETWORKS = {
    "MobileNetV2": Network(mobilenet_v2, _image),
    "MobileNetV3-Large": Network(mobilenet_v3, _image),
    "EfficientNet-B0": Network(efficientnet_b0, _image),
    "ResNet-18": Network(partial(resnet, (2, 2, 2, 2), False), _image),
    "ResNet-50": Network(partial(resnet, (3, 4, 6, 3), True), _image),
    "SqueezeNet 1.1": Network(squeezenet, _image),
    "ShuffleNetV2 1x": Network(shufflenet, _image),
    "ViT, 6 layers of 192": Network(_Vit, _image),
    "BERT, 4 layers of 256": Network(_Bert, _tokens_and_mask),
    "LSTM tagger": Network(partial(_Tagger, nn.LSTM), _tokens),
    "GRU tagger": Network(partial(_Tagger, nn.GRU), _tokens),
    "U-Net, 128 pixels": Network(_Unet, partial(_image, 128)),
    "YOLO-like, 256 pixels": Network(_Yolo, partial(_image, 256)),
}
"""By name. Images are 224 pixels wide where it does not say so; batches are of one."""
