"""Networks compiled for GPUs on a computer without one: machine code, or a loud failure."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from onnx import helper

from farm.compile import cuda
from farm.compile.artifacts import ArtifactStore
from farm.compile.build import build, build_key
from farm.compile.cuda import CudaCompiler
from farm.compile.prepare import prepared
from farm.core.errors import BuildError, TargetError
from farm.core.values import Target
from tests.compile.conftest import conv_model
from tests.compile.test_build import model_of
from tests.system import need

pytestmark = pytest.mark.slow

SM_90 = {"kind": "cuda", "arch": "sm_90"}
ARM_HOST = {"host": {"kind": "llvm", "mtriple": "aarch64-linux-gnu"}}
NB201 = (
    "nb201/|avg_pool_3x3~0|+|nor_conv_1x1~0|nor_conv_3x3~1|"
    "+|skip_connect~0|avg_pool_3x3~1|nor_conv_3x3~2|"
)
ELF_MACHINES = {"x86_64": 62, "aarch64": 183}


@pytest.fixture(scope="module", autouse=True)
def toolkit() -> None:
    need(nvcc="the CUDA toolkit", cc="gcc", nm="binutils", readelf="binutils")


@pytest.fixture
def fresh() -> Iterator[CudaCompiler]:
    """A compiler whose worker has not been started."""
    compiler = CudaCompiler()
    yield compiler
    compiler.close()


def test_a_network_becomes_machine_code(store: ArtifactStore) -> None:
    artifact = build(model_of(NB201), SM_90, store)
    library = artifact.library.read_bytes()
    cuda.check(library, "sm_90")
    assert artifact.program.inputs[0].shape == (1, 3, 32, 32)
    assert len(artifact.program.expected) > 0
    assert artifact.build_s > 0
    assert len(library) < 2e6
    with pytest.raises(BuildError, match=r"must hold machine code for sm_80, and .* for \[90\]"):
        cuda.check(library, "sm_80")
    with pytest.raises(BuildError, match="CUDA source"):
        cuda.check(library + b'extern "C" __global__ void kernel()', "sm_90")
    with pytest.raises(BuildError, match=r"and holds it for \[\]"):
        cuda.check(library[: library.find(cuda._FATBIN_MAGIC) + 20], "sm_90")


def test_a_network_without_kernels_becomes_a_library(store: ArtifactStore) -> None:
    """Its output is the same for every input, so that TVM computes it while it compiles."""
    constant = "nb201/|none~0|+|none~0|nor_conv_1x1~1|+|none~0|skip_connect~1|nor_conv_3x3~2|"
    artifact = build(model_of(constant), SM_90, store)
    library = artifact.library.read_bytes()
    cuda.check(library, None)
    ctypes.CDLL(str(artifact.library))  # a linker can leave out what makes it loadable
    with pytest.raises(
        BuildError, match=r"must hold machine code for sm_90, and holds it for \[\]"
    ):
        cuda.check(library, "sm_90")


@pytest.mark.parametrize(
    ("target", "arch", "machine"),
    [
        ("nvidia/nvidia-h100", "sm_90a", "x86_64"),
        ("nvidia/nvidia-t4", "sm_75", "x86_64"),
        ("nvidia/jetson-orin-nano", "sm_87", "aarch64"),
        ({**SM_90, **ARM_HOST}, "sm_90", "aarch64"),
    ],
)
def test_other_devices(target: Target, arch: str, machine: str, store: ArtifactStore) -> None:
    if machine == "aarch64":
        need(aarch64_linux_gnu_ld="binutils-aarch64-linux-gnu")
    library = build(conv_model(), target, store).library.read_bytes()
    cuda.check(library, arch)
    assert library[18] == ELF_MACHINES[machine]


def test_source_code_in_place_of_machine_code_is_an_error(
    fresh: CudaCompiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What TVM makes, without a word, where it finds no CUDA."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        monkeypatch.setattr(cuda, "write_stubs", lambda *_: None)
        with pytest.raises(BuildError, match="holds CUDA source in place of machine code"):
            fresh.library(prepared(conv_model()), SM_90)
    else:
        pytest.skip("this computer has a CUDA driver, which TVM finds by itself")


@pytest.mark.parametrize(
    ("target", "named"),
    [
        ({"kind": "cuda"}, "needs `arch`, such as 'sm_90'"),
        ({"kind": "cuda", "arch": "sm_9x"}, "sm_90, .* not for 'sm_9x'"),
        ({"kind": "cuda", "arch": "sm_20"}, "not for 'sm_20'"),
        ({**SM_90, "max_thread": 1}, "max_thread"),
        ("nvidia/nvidia-h10", "nvidia/nvidia-h100"),
    ],
)
def test_a_wrong_target_builds_nothing(target: Target, named: str, store: ArtifactStore) -> None:
    with pytest.raises(TargetError, match=named):
        build(conv_model(), target, store)
    assert not store.root.exists()


def test_a_network_of_two_outputs_is_built(store: ArtifactStore) -> None:
    model = conv_model()
    model.graph.output.append(model.graph.output[0])
    model.graph.output[1].name = "below"
    model.graph.node.append(helper.make_node("Neg", [model.graph.output[0].name], ["below"]))
    artifact = build(model, SM_90, store)
    assert len(artifact.program.outputs) == 2
    assert cuda.architectures(artifact.library.read_bytes()) == [90]


def test_an_nvcc_that_does_not_work_is_named(
    fresh: CudaCompiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nvcc").write_text("#!/bin/sh\nexit 3\n")
    (tmp_path / "nvcc").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(BuildError, match=r"need nvcc, .* exit status 3"):
        fresh.library(prepared(conv_model()), SM_90)


def test_another_nvcc_makes_another_artifact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def keys() -> tuple[str, str]:
        cuda.nvcc_version.cache_clear()
        return build_key(conv_model(), SM_90), build_key(conv_model(), ARM_HOST["host"])

    before = keys()
    (tmp_path / "nvcc").write_text("#!/bin/sh\necho release 99.9\n")
    (tmp_path / "nvcc").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    after = keys()
    cuda.nvcc_version.cache_clear()
    assert before[0] != after[0]
    assert before[1] == after[1]


def test_cuda_targets_are_known_without_tvm() -> None:
    assert cuda.is_cuda({"tag": "nvidia/nvidia-a100"})
    assert not cuda.is_cuda({"kind": "llvm", "mtriple": "aarch64-linux-gnu"})
    assert not cuda.is_cuda("raspberry-pi/4b-aarch64")
