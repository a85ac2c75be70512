"""Networks of both spaces, compiled by TVM and run: the same outputs as onnxruntime."""

from __future__ import annotations

import logging
import os
import pickle
import platform
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from farm.compile import check, fuse, graph, oracle
from farm.compile.artifacts import ArtifactStore
from farm.compile.build import build, build_key
from farm.compile.compiler import compiler
from farm.compile.kernel_cache import KernelCache
from farm.compile.linker import find_linker
from farm.compile.prepare import prepared
from farm.core.errors import BuildError, CompilerLost, TargetError
from farm.core.values import Network
from farm.spaces import space
from farm.spaces.onnx.export import to_onnx
from tests.compile.conftest import conv_model

NETWORKS = [
    # Every operation of NAS-Bench-201 on every kind of edge, zeros that are convolved included.
    "nb201/|avg_pool_3x3~0|+|nor_conv_1x1~0|nor_conv_3x3~1|+|skip_connect~0|avg_pool_3x3~1|nor_conv_3x3~2|",
    "nb201/|none~0|+|nor_conv_3x3~0|nor_conv_1x1~1|+|none~0|skip_connect~1|nor_conv_1x1~2|",
    "nb201/|none~0|+|none~0|none~1|+|none~0|none~1|none~2|",
    # Every block of FBNet, in layers of every stride.
    "fbnet/0123456780123456780123",
]


def model_of(network_id: str) -> onnx.ModelProto:
    network = Network.from_id(network_id)
    found = space(network.space)
    return to_onnx(found.graph(found.parse(network.code)))


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> KernelCache:
    """Shared by the tests of this module, which saves most of the compiling."""
    return KernelCache(tmp_path_factory.mktemp("kernels"))


@pytest.mark.slow
@pytest.mark.parametrize("network_id", NETWORKS)
def test_outputs_equal_onnxruntime(
    network_id: str, host_target: dict[str, Any], store: ArtifactStore, kernels: KernelCache
) -> None:
    """`build` itself compares with onnxruntime; here the comparison is made sure to bite."""
    artifact = build(model_of(network_id), host_target, store, kernels)
    library, program = artifact.library.read_bytes(), artifact.program
    assert len(library) == artifact.size_bytes
    (output,) = program.outputs
    assert max(map(abs, output.expected)) > 10 * output.tolerance
    check.check(library, program)
    wrong = tuple(value + 2 * output.tolerance for value in output.expected)
    with pytest.raises(BuildError, match="differs from onnxruntime"):
        check.check(library, replace(program, outputs=(replace(output, expected=wrong),)))


@pytest.mark.slow
def test_the_same_network_is_built_once(
    host_target: dict[str, Any], store: ArtifactStore, kernels: KernelCache
) -> None:
    first = build(conv_model(), host_target, store, kernels)
    written_ns = first.library.stat().st_mtime_ns
    assert build(conv_model(), host_target, ArtifactStore(store.root), kernels) == first
    assert first.library.stat().st_mtime_ns == written_ns
    assert build_key(conv_model(channels=5), host_target) != first.build_key
    assert build_key(conv_model(), "raspberry-pi/4b-aarch64") != first.build_key


def test_a_damaged_artifact_is_built_again(
    host_target: dict[str, Any],
    store: ArtifactStore,
    kernels: KernelCache,
    caplog: pytest.LogCaptureFixture,
) -> None:
    first = build(conv_model(), host_target, store, kernels)
    os.truncate(first.library, 100)
    with caplog.at_level(logging.WARNING):
        again = build(conv_model(), host_target, store, kernels)
    assert again.sha256 == first.sha256
    assert again.library.stat().st_size == first.size_bytes
    assert "damaged" in caplog.text


@pytest.mark.slow
def test_a_damaged_kernel_is_built_again(
    host_target: dict[str, Any],
    store: ArtifactStore,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    kernels = KernelCache(tmp_path / "kernels")
    first = build(conv_model(), host_target, store, kernels)
    (kernel,) = kernels.root.glob("*/*/kernel.o")
    code = kernel.read_bytes()
    os.truncate(kernel, 100)
    with caplog.at_level(logging.WARNING):
        again = build(conv_model(), host_target, ArtifactStore(tmp_path / "other"), kernels)
    assert "damaged" in caplog.text
    assert kernel.read_bytes() == code
    assert again.sha256 == first.sha256


def test_networks_share_kernels(
    host_target: dict[str, Any], store: ArtifactStore, tmp_path: Path
) -> None:
    kernels = KernelCache(tmp_path / "kernels")
    build(conv_model(), host_target, store, kernels)
    objects = {path: path.stat().st_mtime_ns for path in kernels.root.glob("*/*/kernel.o")}
    assert len(objects) == 1
    renamed = conv_model()
    renamed.graph.name = "another network of the same kernel"
    build(renamed, host_target, store, kernels)
    assert {p: p.stat().st_mtime_ns for p in kernels.root.glob("*/*/kernel.o")} == objects


def test_cross_compiles(store: ArtifactStore, kernels: KernelCache) -> None:
    try:
        find_linker("aarch64-linux-gnu")
    except BuildError as error:
        pytest.skip(str(error))
    artifact = build(conv_model(), "raspberry-pi/4b-aarch64", store, kernels)
    assert artifact.library.read_bytes()[18] == 183  # EM_AARCH64


@pytest.mark.slow
def test_a_compiler_that_dies_fails_one_kernel_and_comes_back(
    host_target: dict[str, Any], store: ArtifactStore, tmp_path: Path
) -> None:
    compiler().target(host_target)
    pid = compiler().pid
    assert pid is not None
    mapped = Path(f"/proc/{pid}/maps").read_text()
    assert ("libtvm" in mapped, "libtorch" in mapped) == (True, False)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(CompilerLost, match=r"building the kernel Conv\+Add\+Relu") as lost:
        build(conv_model(), host_target, store, KernelCache(tmp_path / "kernels"))
    assert lost.value.killed
    assert pickle.loads(pickle.dumps(lost.value)).killed
    build(conv_model(), host_target, store, KernelCache(tmp_path / "kernels"))


@pytest.mark.slow
def test_a_crash_of_llvm_fails_one_kernel(
    host_target: dict[str, Any], store: ArtifactStore, kernels: KernelCache
) -> None:
    """LLVM's writer of GOFF, a format for IBM's mainframes, reads a null pointer on x86-64."""
    crashing = {"kind": "llvm", "mtriple": "x86_64-linux-gnu-goff"}
    with pytest.raises(CompilerLost, match=r"died building the kernel Conv\+Add\+Relu") as lost:
        build(conv_model(), crashing, store, kernels)
    assert not lost.value.killed
    build(conv_model(), host_target, store, kernels)


def test_what_runs_only_elsewhere_is_built_unchecked(
    host_target: dict[str, Any], store: ArtifactStore, kernels: KernelCache
) -> None:
    if platform.machine() != "x86_64":
        pytest.skip("XOP is a feature of x86-64")
    elsewhere = {**host_target, "mattr": ["+xop"]}
    assert build(conv_model(), elsewhere, store, kernels).size_bytes > 0


def test_a_constant_network_copies_its_output(
    host_target: dict[str, Any], store: ArtifactStore, kernels: KernelCache
) -> None:
    """As onnxruntime, which computes it beforehand."""
    model = model_of("nb201/|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")
    plan = fuse.plan(graph.read(prepared(model)))
    assert [call.kernel.name for call in plan.calls] == ["Copy [[1, 10]] -> [1, 10]"]
    artifact = build(model, host_target, store, kernels)
    assert [spec.shape for spec in artifact.program.inputs] == [(1, 3, 32, 32), (1, 10)]
    assert len(set(artifact.program.expected)) == 10


def test_a_wrong_target_builds_nothing(store: ArtifactStore) -> None:
    with pytest.raises(TargetError, match="x86-64-v4"):
        build(conv_model(), {"kind": "llvm", "mcpu": "x86-64-v44"}, store)
    assert not store.root.exists()


def test_the_bounds_keep_the_scale_of_deep_networks() -> None:
    """All-convolution, pool-only and skip-only cells: no overflow, nothing that dies."""
    for operation in ("nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3", "skip_connect"):
        cell = "+".join(
            f"|{'|'.join(f'{operation}~{source}' for source in range(target))}|"
            for target in (1, 2, 3)
        )
        model = model_of(f"nb201/{cell}")
        specs = oracle.tensor_specs(model)
        output = oracle.run(model, oracle.arguments(specs, seed=0))
        assert np.isfinite(output).all()
        assert 1e-6 < np.abs(output).max() < 1e20
