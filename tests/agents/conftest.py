"""A small real network, and libraries that misbehave in the ways that networks do."""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agents import cpu, pipes
from agents.cpu import choose_cores, own_cores
from agents.emulated.profiles import PROFILES
from agents.emulated.qemu_pi import QemuPiOptions
from agents.emulated.qemu_pi_guest import Guest
from agents.emulated.qemu_pi_image import Image, image
from agents.gpu import gpu_target
from agents.on_device.loading import compared, seeded_values
from farm.core.errors import DeviceError, DeviceUnfit
from farm.core.values import Artifact, Network, OutputSpec, Program, TensorSpec
from farm.measurement.agent import Agent
from farm.measurement.record import Job, Measurement
from farm.measurement.sessions import measure
from farm.measurement.spec import MeasureSpec
from tests import arm64
from tests.agents import cuda_stand_in
from tests.sshd import Sshd, sshd
from tests.system import lack, need, runtime

INPUTS = (TensorSpec("input", (1, 4, 8, 8), 1.0), TensorSpec("weight", (8, 4, 3, 3), 0.2))

MISBEHAVIOUR = {
    "crash": "raise(SIGSEGV);",
    "exit": "exit(3);",
    "hang": "for (;;) pause();",
    "hang with a child": "fork(); for (;;) pause();",
    "lost": "kill(getppid(), SIGKILL); pause();",
    "noise": 'puts("{\\"id\\": 1, \\"result\\": {}}"); fflush(stdout);',
}
"""What a library does when it is loaded, in C."""

SOURCE = """\
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
__attribute__((constructor)) static void misbehave(void) { %s }
"""


@pytest.fixture(scope="session")
def ssh_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """An SSH server on this computer."""
    with sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture
def ssh_entry(ssh_server: Sshd) -> Iterator[dict[str, str]]:
    """What cluster.yaml says of a device there, which has never been used before."""
    yield entry_of(ssh_server)
    shutil.rmtree(ssh_server.home)
    ssh_server.home.mkdir()


class StandingGuest(Guest):
    """Stays on when the agents that use it are stopped."""

    def off(self) -> None:
        pass


@pytest.fixture(scope="session")
def pi_image() -> Image:
    """The emulated Raspberry Pi, built if it is not in the cache."""
    need(qemu_system_aarch64="qemu-system-arm", mke2fs="e2fsprogs", ssh_keygen="openssh-client")
    runtime("aarch64", "3.11")
    return image()


@pytest.fixture(scope="module")
def standing_guest(pi_image: Image) -> Iterator[StandingGuest]:
    """One guest for all tests of a file that do it no harm. It takes a fifth of a core even where
    it idles, and is off once they are through."""
    options = QemuPiOptions.model_validate({})
    guest = StandingGuest(options.cpu, 1, options.memory_bytes, options.instruction_clock)
    guest.on(pi_image, choose_cores(options, own_cores()))
    yield guest
    Guest.off(guest)


def entry_of(server: Sshd) -> dict[str, str]:
    return {
        "host": str(server.address),
        "key": str(server.key),
        "host_key": str(server.host_key),
        "python": sys.executable,
    }


@pytest.fixture
def quick() -> MeasureSpec:
    return MeasureSpec(
        min_sessions=1, max_sessions=1, warmup_s=0.0, rounds=3, block_s=1e-3, sample_s=1e-4
    )


def measure_one(
    agent: Agent, network: Network, artifact: Artifact | None, spec: MeasureSpec
) -> Measurement:
    """A network alone, as the farm measures it. Raises what the farm would record."""
    _, (outcome,) = measure(agent, [Job(network, artifact)], spec)
    if isinstance(outcome, DeviceError):
        raise outcome
    return outcome


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A convolution whose output channels run on as many threads as there are."""
    library = tmp_path_factory.mktemp("network") / "conv.so"
    _compile(library)
    program = Program(INPUTS, 0, (OutputSpec(_convolution(0), 1e-5),))
    return artifact_of(library, program)


def artifact_of(library: Path, program: Program) -> Artifact:
    content = library.read_bytes()
    return Artifact(
        build_key=f"key of {library.name}",
        library=library,
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        build_s=0.0,
        program=program,
    )


def _compile(library: Path) -> None:
    import tvm
    from tvm import relax
    from tvm.s_tir import Schedule

    arguments = [relax.Var(t.name, relax.TensorType(t.shape, t.dtype)) for t in INPUTS]
    builder = relax.BlockBuilder()
    with builder.function("main", arguments):
        with builder.dataflow():
            output = builder.emit_output(relax.op.nn.conv2d(*arguments, padding=1))
        builder.emit_func_output(output)
    schedule = Schedule(relax.transform.LegalizeOps()(builder.get()))
    schedule.work_on("conv2d")
    schedule.parallel(schedule.get_loops(schedule.get_sblock("conv2d_nchw"))[1])
    tvm.compile(schedule.mod, tvm.target.Target({"kind": "llvm"})).export_library(str(library))


def _convolution(seed: int) -> tuple[float, ...]:
    """The outputs that are compared, computed without TVM."""
    tensors = [
        np.array(seeded_values(seed, i, int(np.prod(t.shape)), t.bound)).reshape(t.shape)
        for i, t in enumerate(INPUTS)
    ]
    padded = np.pad(tensors[0][0].astype(np.float64), ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    return tuple(compared(np.einsum("iyxhw,oihw->oyx", windows, tensors[1]).ravel().tolist()))


@pytest.fixture
def misbehaving(artifact: Artifact, tmp_path: Path) -> Callable[[str], Artifact]:
    """The network in a library that first does what `MISBEHAVIOUR` says."""

    return lambda name: misbehaving_like(artifact, name, tmp_path)


def misbehaving_like(artifact: Artifact, name: str, folder: Path) -> Artifact:
    source = folder / "misbehaving.c"
    source.write_text(SOURCE % MISBEHAVIOUR[name])
    library = source.with_suffix(".so")
    needs = ["-Wl,--no-as-needed", str(artifact.library)]
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source, *needs], check=True)
    return artifact_of(library, artifact.program)


@pytest.fixture
def truncated(artifact: Artifact, tmp_path: Path) -> Artifact:
    """The network after a transfer that stopped half-way."""
    return half_of(artifact, tmp_path / "half.so")


def half_of(artifact: Artifact, library: Path) -> Artifact:
    library.write_bytes(artifact.library.read_bytes()[: artifact.size_bytes // 2])
    return replace(artifact, library=library)


@pytest.fixture
def wrong(artifact: Artifact) -> Artifact:
    """The network, taken for one that computes a little more."""
    return expecting_more(artifact)


def expecting_more(artifact: Artifact) -> Artifact:
    first, *rest = artifact.program.expected
    return _expecting(artifact, (first + 0.01, *rest))


def _expecting(artifact: Artifact, values: tuple[float, ...]) -> Artifact:
    (output,) = artifact.program.outputs
    outputs = (replace(output, expected=values),)
    return replace(artifact, program=replace(artifact.program, outputs=outputs))


@pytest.fixture(scope="session")
def arm64_artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A convolution, built as the farm does, that every arm64 CPU runs."""
    from farm.compile.artifacts import ArtifactStore
    from farm.compile.build import build
    from tests.compile.conftest import conv_model

    need(aarch64_linux_gnu_ld="binutils-aarch64-linux-gnu")
    arm64.need_root()
    store = ArtifactStore(tmp_path_factory.mktemp("arm64"))
    return build(conv_model(), PROFILES["cortex-a53"].target, store)


@pytest.fixture
def arm64_faulty(arm64_artifact: Artifact, tmp_path: Path) -> Callable[[str], Artifact]:
    """The network of `arm64_artifact`, with a fault of the conformance suite."""

    def build(fault: str) -> Artifact:
        if fault == "wrong_output":
            return expecting_more(arm64_artifact)
        if fault == "artifact":
            return half_of(arm64_artifact, tmp_path / "half.so")
        library = arm64.misbehaving(fault, tmp_path)
        return artifact_of(library, arm64_artifact.program)

    return build


@pytest.fixture(scope="session")
def gpu_artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A convolution in the machine code of an H100."""
    from farm.compile.artifacts import ArtifactStore
    from farm.compile.build import build
    from tests.compile.conftest import conv_model

    need(nvcc="the CUDA toolkit", cc="gcc", nm="binutils", readelf="binutils")
    store = ArtifactStore(tmp_path_factory.mktemp("cuda"))
    return build(conv_model(), gpu_target("90", platform.machine()), store)


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The slim runtime of a GPU that computes nothing; its driver is in the folder above."""
    need(gcc="gcc")
    try:
        return cuda_stand_in.build(tmp_path_factory.mktemp("stand-in"))
    except DeviceUnfit as error:
        lack(str(error))


@pytest.fixture
def stand_in_here(stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the stand-in the GPU of this computer."""
    monkeypatch.setenv("LD_LIBRARY_PATH", str(stand_in.parent))
    for module in (cpu, pipes):
        monkeypatch.setattr(module, "host_bundle", lambda _: stand_in)


def expecting_zeros(artifact: Artifact) -> Artifact:
    """A network as the stand-in computes it."""
    return _expecting(artifact, (0.0,) * len(artifact.program.expected))
