"""The graph: pruning, naming, shapes and counts, and all operations in all derived forms."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from network_forms import (
    assert_one_definition,
    ort_output,
    random_input,
    random_module,
    torch_output,
)
from tvm import relax
from tvm.relax.frontend.onnx import from_onnx

from farm.spaces.counts import Counts, count, depth
from farm.spaces.graph import INPUT, Graph, Value, apply, build
from farm.spaces.onnx.export import to_onnx
from farm.spaces.ops import (
    Add,
    AvgPool,
    BatchNorm,
    ChannelShuffle,
    Conv,
    GlobalAvgPool,
    Linear,
    Relu,
    Zeros,
)
from farm.spaces.torch_module import folded_weights, to_torch


def every_operation() -> Graph:
    """A small network with all operations, a grouped and a depthwise convolution among them."""
    x = apply(Relu(), apply(Conv(8, 3, stride=2), INPUT))
    y = apply(ChannelShuffle(2), apply(Conv(8, 1, groups=2), x))
    y = apply(Conv(8, 5, groups=8), y)
    pooled = apply(AvgPool(3, stride=1, padding=1), x)
    shift = apply(Conv(8, 3), apply(Zeros((2, 8, 5, 5))))
    z = apply(Add(), apply(Add(), y, pooled), shift)
    z = apply(Conv(6, 1, batch_norm=False), apply(AvgPool(2, stride=2, padding=0), z))
    z = apply(Relu(), apply(BatchNorm(), z))
    return build((2, 3, 9, 9), apply(Linear(4), apply(GlobalAvgPool(), z)))


def test_every_operation_is_one_function_in_torch_and_onnx() -> None:
    graph = every_operation()
    assert len({type(node.op) for node in graph.nodes}) == 9
    for seed in range(3):
        assert_one_definition(graph, seed)


@pytest.mark.slow
def test_every_operation_is_read_by_tvm_with_weights_as_inputs() -> None:
    graph = every_operation()
    arguments = [random_input(graph, 0), *folded_weights(random_module(graph, 0))]
    module = from_onnx(to_onnx(graph), keep_params_in_input=True)
    names = [parameter.name for parameter in module["main"].params]
    assert names == ["input", *(weight.name for weight in graph.weights)]
    executable = tvm.compile(module, tvm.target.Target({"kind": "llvm", "num-cores": 1}))
    machine = relax.VirtualMachine(executable, tvm.cpu())
    output = machine["main"](*(tvm.runtime.tensor(argument) for argument in arguments))
    np.testing.assert_allclose(output.numpy(), ort_output(graph, arguments), rtol=0, atol=1e-4)


def test_what_the_output_does_not_need_leaves_no_trace() -> None:
    def network(*, with_dead_branch: bool) -> Graph:
        x = apply(Conv(4, 1), INPUT)
        if with_dead_branch:
            apply(Conv(4, 3), x)
        return build((1, 3, 4, 4), apply(Relu(), x))

    assert network(with_dead_branch=True) == network(with_dead_branch=False)


def test_names_depend_on_structure_not_on_the_order_of_writing() -> None:
    def network(*, second_first: bool) -> Graph:
        kernels = (3, 1) if second_first else (1, 3)
        made = {kernel: apply(Conv(4, kernel), INPUT) for kernel in kernels}
        return build((1, 3, 4, 4), apply(Add(), made[1], made[3]))

    assert network(second_first=True) == network(second_first=False)


def test_equal_convolutions_have_weights_of_their_own() -> None:
    def doubled(a: Value, b: Value) -> Graph:
        return build((1, 3, 4, 4), apply(Add(), a, b))

    one = apply(Conv(4, 1), INPUT)
    assert len(doubled(one, one).weights) == 2
    assert len(doubled(one, apply(Conv(4, 1), INPUT)).weights) == 4


def test_the_module_takes_any_batch() -> None:
    graph = every_operation()
    module = random_module(graph, 0)
    x = random_input(graph, 0)
    batch = torch_output(module, np.concatenate([x, x, x]))
    single = torch_output(module, x[:1])
    np.testing.assert_allclose(batch[[0, 2, 4]], single[[0, 0, 0]], rtol=0, atol=1e-5)


def test_folded_weights_are_copies() -> None:
    module = to_torch(build((1, 3, 4, 4), apply(Linear(2), apply(GlobalAvgPool(), INPUT))))
    weight, bias = folded_weights(module)
    before = weight.copy()
    module.layers["linear1"].weight.data.add_(1.0)
    np.testing.assert_array_equal(weight, before)
    assert (weight.shape, bias.shape) == ((3, 2), (2,))


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (apply(Add(), INPUT, apply(Conv(4, 1), INPUT)), "both terms of a sum must have one shape"),
        (apply(Conv(4, 1, groups=2), INPUT), "`groups` must divide the channels 3 and 4"),
        (apply(ChannelShuffle(2), INPUT), "`groups` must divide the channels 3, got 2"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(output: Value, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _ = build((1, 3, 4, 4), output).shapes


def test_counts_of_a_network_worked_out_by_hand() -> None:
    x = apply(Relu(), apply(Conv(4, 3), INPUT))
    y = apply(Conv(4, 3, groups=4), apply(Conv(4, 1, groups=2), x))
    y = apply(Conv(4, 1), apply(Add(), y, x))
    graph = build((1, 3, 8, 8), apply(Linear(10), apply(GlobalAvgPool(), y)))
    plane, image = 4 * 64, 3 * 64
    assert count(graph) == Counts(
        macs_1x1=plane * 4,
        macs_kxk=plane * 27,
        macs_grouped=plane * 2,
        macs_depthwise=plane * 9,
        macs_linear=4 * 10,
        parameters=(4 * 27 + 8) + (4 * 2 + 8) + (4 * 9 + 8) + (4 * 4 + 8) + (4 * 10 + 10),
        kernels=6,
        traffic_bytes=4 * (image + plane + 3 * 2 * plane + plane + (plane + 4) + (4 + 10)),
    )
    assert depth(graph) == 6
    assert count(graph).macs == plane * 42 + 40


def test_depth_takes_the_longest_path() -> None:
    long = apply(Conv(3, 3), apply(Conv(3, 3), INPUT))
    short = apply(AvgPool(3, stride=1, padding=1), INPUT)
    assert depth(build((1, 3, 4, 4), apply(Relu(), apply(Add(), short, long)))) == 2
