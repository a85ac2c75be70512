"""Kernels by themselves: their names, and the networks that they are timed in."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import pytest
from onnx import TensorProto, helper

from agents.pipes import local_runner
from farm.compile import alone, check
from farm.compile.artifacts import ArtifactStore
from farm.compile.groups import Group, Operation, Schedule, Step, Window
from farm.compile.kernel_cache import KernelCache
from farm.core.errors import BuildError
from tests.compile.conftest import conv_model

CONV = Group(
    "Conv",
    ((1, 8, 6, 6), (2, 8, 3, 3, 4), (8,)),
    (1, 8, 6, 6),
    (Step("Add", 2, "channel"), Step("Relu")),
    Window((3, 3), (1, 1), (1, 1, 1, 1)),
    weight_block=4,
)
FILL = Group("Fill", (), (1, 10), value=2.0)


def operation(op: str, kind: int = TensorProto.FLOAT) -> Operation:
    names = ("x0", "y0")
    value, made = (helper.make_tensor_value_info(name, kind, (1, 4)) for name in names)
    graph = helper.make_graph([helper.make_node(op, ["x0"], ["y0"])], op, [value], [made])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return Operation(model.SerializeToString(deterministic=True), 1, op)


@pytest.mark.parametrize("kernel", [CONV, FILL, operation("Erf")])
def test_a_kernel_is_read_as_it_was_written(kernel: alone.Kernel) -> None:
    again = alone.defined(alone.definition(kernel))
    assert again == kernel
    assert alone.network_of(again) == alone.network_of(kernel)


def test_a_schedule_is_in_the_key_and_not_in_the_name(host_target: dict[str, Any]) -> None:
    written = replace(CONV, schedule=Schedule(1, 4, 2))
    assert alone.name_of(written) == alone.name_of(CONV)
    assert alone.definition(written) == alone.definition(CONV)
    tuned = {**host_target, "schedules": {alone.name_of(CONV): [1, 4, 2]}}
    assert alone.key(CONV, tuned) == alone.key(written, host_target)
    assert alone.key(CONV, tuned) != alone.key(CONV, host_target)
    assert alone.key(FILL, tuned) == alone.key(FILL, host_target)


def test_each_call_has_weights_of_its_own(
    host_target: dict[str, Any], store: ArtifactStore, tmp_path: Any
) -> None:
    kernels = KernelCache(tmp_path)
    eight, once = (
        alone.artifact(CONV, host_target, store, kernels, once) for once in (False, True)
    )
    sizes = [sum(prod(i.shape) for i in made.program.inputs) for made in (eight, once)]
    assert sizes[0] - sizes[1] == (alone.CALLS - 1) * prod(CONV.operands[1])
    with local_runner() as runner:
        outputs = [check.outputs(made.library, made.program, runner) for made in (eight, once)]
    assert outputs[0] != outputs[1]
    assert alone.artifact(CONV, host_target, store, kernels) == eight


def test_large_weights_fit_into_memory() -> None:
    large = Group("Gemm", ((1, 4096), (4096, 4096)), (1, 4096))
    huge = replace(large, operands=((1, 25088), (25088, 4096)))
    assert [alone.calls_in(kernel) for kernel in (CONV, large, huge, FILL)] == [8, 1, 1, 8]


def test_what_is_not_float32_cannot_be_timed_alone(
    host_target: dict[str, Any], store: ArtifactStore, tmp_path: Any
) -> None:
    with pytest.raises(BuildError, match="not all float32"):
        alone.artifact(
            operation("Neg", TensorProto.INT64), host_target, store, KernelCache(tmp_path)
        )


def test_the_calls_of_a_network_are_known_without_compiling() -> None:
    kernels = alone.calls_of(conv_model())
    assert kernels
    assert all(isinstance(kernel, Group) for kernel in kernels)
