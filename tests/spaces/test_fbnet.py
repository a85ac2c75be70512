"""FBNet against tables 1 and 2 of the paper, and its text forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from network_forms import assert_one_definition, assert_same_output, random_input, random_module
from torch import Tensor, nn

from farm.core.errors import NetworkSyntaxError
from farm.spaces.fbnet import LAYERS, OPERATIONS, FBNet, fbnet, fbnet32
from farm.spaces.ops import Add, ChannelShuffle, Conv
from farm.spaces.torch_module import GraphModule

ALL_SKIP = "8" * LAYERS
"""Only the layers that change the shape hold anything."""


class LiteralBlock(nn.Module):
    """A candidate block with a stride and channels of its own, from table 2."""

    def __init__(self, name: str, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        kernel, expansion = int(name[1]), int(name[4])
        self.groups = 2 if name.endswith("g2") else 1
        width = c_in * expansion
        self.expand = conv_norm(c_in, width, 1, 1, self.groups)
        self.depthwise = conv_norm(width, width, kernel, stride, width)
        self.project = conv_norm(width, c_out, 1, 1, self.groups)
        self.residual = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.expand(x))
        if self.groups == 2:
            n, c, h, w = y.shape
            y = y.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        y = self.project(torch.relu(self.depthwise(y)))
        return x + y if self.residual else y


def conv_norm(c_in: int, c_out: int, kernel: int, stride: int, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(c_out))


def conv_norm_relu(c_in: int, c_out: int, kernel: int, stride: int) -> nn.Sequential:
    return nn.Sequential(*conv_norm(c_in, c_out, kernel, stride), nn.ReLU())


def literal(space: FBNet, digits: list[int], stem_stride: int, strides: list[int]) -> nn.Sequential:
    """The network of table 1 with the given strides."""
    channels = [16] + [24] * 4 + [32] * 4 + [64] * 4 + [112] * 4 + [184] * 4 + [352]
    layers: list[nn.Module] = [conv_norm_relu(3, 16, 3, stem_stride)]
    for c_in, c_out, stride, digit in zip([16, *channels], channels, strides, digits, strict=False):
        name = OPERATIONS[digit]
        if name != "skip":
            layers.append(LiteralBlock(name, c_in, c_out, stride))
        elif stride == 2 or c_in != c_out:
            layers.append(conv_norm_relu(c_in, c_out, 1, stride))
    layers += [conv_norm_relu(352, space.head_channels, 1, 1), nn.AdaptiveAvgPool2d(1)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(space.head_channels, space.classes))


def copy_state(source: GraphModule, target: nn.Module) -> None:
    """Both hold the same layers in the same order."""
    values = list(source.state_dict().values())
    keys = list(target.state_dict())
    target.load_state_dict(dict(zip(keys, values, strict=True)))


IMAGENET_STRIDES = [1, 2, 1, 1, 1, 2, 1, 1, 1, 2, 1, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1]
CIFAR_STRIDES = [1, 1, 1, 1, 1, 2, 1, 1, 1, 2, 1, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("space", "stem_stride", "strides", "seeds"),
    [(fbnet(), 2, IMAGENET_STRIDES, range(2)), (fbnet32(), 1, CIFAR_STRIDES, range(8))],
    ids=["fbnet", "fbnet32"],
)
def test_a_network_is_its_literal_reading(
    space: FBNet, stem_stride: int, strides: list[int], seeds: range
) -> None:
    for seed in seeds:
        network = space.sample(1, np.random.default_rng(seed))[0]
        graph = space.graph(network)
        module, x = random_module(graph, seed), random_input(graph, seed)
        other = literal(space, [int(digit) for digit in network.code], stem_stride, strides).eval()
        copy_state(module, other)
        with torch.no_grad():
            assert_same_output(
                other(torch.from_numpy(x)).numpy(), module(torch.from_numpy(x)).numpy()
            )


@pytest.mark.parametrize("code", ["0" * 22, "1" * 22, "5" * 22, "7" * 22, ALL_SKIP])
def test_torch_and_onnx_are_the_same_function(code: str) -> None:
    space = fbnet32()
    assert_one_definition(space.graph(space.parse(code)), seed=0)


def test_the_shapes_of_table_1() -> None:
    space = fbnet()
    sides = [layer.side // layer.stride for layer in space.layers]
    assert sides == [112] + [56] * 4 + [28] * 4 + [14] * 8 + [7] * 5
    assert len(space.layers) == 22
    graph = space.graph(space.parse(ALL_SKIP))
    assert graph.input_shape == (1, 3, 224, 224)
    assert graph.shapes[graph.output] == (1, 1000)
    head = [node for node in graph.nodes if isinstance(node.op, Conv)][-1]
    assert graph.shapes[head.name] == (1, 1984, 7, 7)


def test_the_shapes_of_the_small_network() -> None:
    space = fbnet32()
    sides = [layer.side // layer.stride for layer in space.layers]
    assert sides == [32] * 5 + [16] * 4 + [8] * 8 + [4] * 5
    graph = space.graph(space.parse(ALL_SKIP))
    assert graph.input_shape == (1, 3, 32, 32)
    assert graph.shapes[graph.output] == (1, 100)


def test_skip_holds_nothing_where_the_shape_stays() -> None:
    space = fbnet()
    convolutions = [
        node.op for node in space.graph(space.parse(ALL_SKIP)).nodes if isinstance(node.op, Conv)
    ]
    assert [conv.channels for conv in convolutions] == [16, 24, 32, 64, 112, 184, 352, 1984]
    assert [conv.stride for conv in convolutions] == [2, 2, 2, 2, 1, 2, 1, 1]
    assert {conv.kernel for conv in convolutions[1:]} == {1}


def test_a_block_adds_its_input_where_the_shape_stays_and_shuffles_two_groups() -> None:
    space = fbnet32()
    ops = [node.op for node in space.graph(space.parse("1" * 22)).nodes]
    changes = 6
    assert sum(isinstance(op, Add) for op in ops) == LAYERS - changes
    assert sum(isinstance(op, ChannelShuffle) for op in ops) == LAYERS


@pytest.mark.parametrize("separator", [",", " ", ", ", "-", "\t"])
def test_separated_digits_and_names_are_the_same_network(separator: str) -> None:
    space = fbnet()
    digits = [3, 8, 1, 0, 7, 5, 2, 4, 6, 8, 8, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1]
    expected = space.parse("".join(str(digit) for digit in digits))
    assert space.parse(separator.join(str(digit) for digit in digits)) == expected
    assert space.parse(separator.join(OPERATIONS[digit] for digit in digits)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("9" + "0" * 21, "no operation '9'; known: k3_e1, .*skip, or their positions 0-8"),
        ("k3_e2," + "skip," * 21, "no operation 'k3_e2'; did you mean 'k3_e"),
        ("0" * 21, "has 22 digits 0-8 .*got 21"),
        ("skip," * 23, "got 23"),
        ("", "got 0 in ''"),
    ],
)
def test_a_mistake_is_named(text: str, message: str) -> None:
    with pytest.raises(NetworkSyntaxError, match=message):
        fbnet().parse(text)
