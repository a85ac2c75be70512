"""Networks compiled for aarch64, run as a device would: the same outputs as onnxruntime."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from agents.pipes import LocalPipe, result_of
from farm.compile.artifacts import ArtifactStore
from farm.compile.build import build
from farm.compile.kernel_cache import KernelCache
from farm.core.values import Artifact, Network, Target
from farm.measurement.spec import MeasureSpec
from farm.spaces import space
from tests import arm64
from tests.compile.conftest import conv_model
from tests.compile.test_build import model_of
from tests.system import need

pytestmark = pytest.mark.slow

PI4 = "raspberry-pi/4b-aarch64"
NETWORKS = [
    network
    for name, count in (("nb201", 8), ("fbnet32", 3))
    for network in space(name).sample(count, np.random.default_rng(3))
]
ARM = {"kind": "llvm", "mtriple": "aarch64-linux-gnu"}
DEVICES: list[tuple[Target, str, str]] = [
    ("arm/rk3399", "cortex-a53", "3.9"),
    ({**ARM, "mcpu": "cortex-a53"}, "cortex-a53", "3.11"),
    ({**ARM, "mcpu": "cortex-a76", "mattr": ["+dotprod", "+fullfp16"]}, "cortex-a76", "3.13"),
    (ARM, "cortex-a57", "3.11"),
]
"""Targets, with the CPU and the Python of a device that each is for."""


@pytest.fixture(scope="module", autouse=True)
def linker() -> None:
    need(aarch64_linux_gnu_ld="binutils-aarch64-linux-gnu")


@pytest.fixture(scope="module")
def pi4() -> Iterator[LocalPipe]:
    with arm64.runner() as pipe:
        yield pipe


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> KernelCache:
    return KernelCache(tmp_path_factory.mktemp("kernels"))


def request(artifact: Artifact, pipe: LocalPipe, **message: Any) -> dict[str, Any]:
    """The runner's result for an artifact."""
    program = artifact.program
    network = {"library": str(artifact.library), "sha256": artifact.sha256}
    network["program"] = program.to_json()
    what = {"networks": [network], "seed": program.seed}
    limits = {"threads": 1, "cores": [], "timeout_s": 240}
    return result_of(pipe.request({**what, **limits, **message}, timeout_s=250))


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.id)
def test_outputs_equal_onnxruntime(
    network: Network, pi4: LocalPipe, store: ArtifactStore, kernels: KernelCache
) -> None:
    artifact = build(model_of(network.id), PI4, store, kernels)
    program = artifact.program
    output = request(artifact, pi4, op="run")["networks"][0]["outputs"][0]
    assert output == pytest.approx(program.expected, rel=0, abs=program.outputs[0].tolerance)
    assert max(map(abs, program.expected)) > 10 * program.outputs[0].tolerance


@pytest.mark.parametrize(("target", "cpu", "python"), DEVICES)
def test_other_devices(
    target: Target, cpu: str, python: str, store: ArtifactStore, kernels: KernelCache
) -> None:
    """The runner itself checks the output before it measures."""
    spec = MeasureSpec(warmup_s=0, rounds=2, block_s=1e-3, sample_s=1e-4)
    artifact = build(conv_model(), target, store, kernels)
    with arm64.runner(python, cpu) as pipe:
        result = request(artifact, pipe, op="session", order=0, spec=asdict(spec), threads=2)
    (network,) = result["networks"]
    assert 0 <= network["deviation"] <= artifact.program.outputs[0].tolerance
    assert len(network["blocks"]) == spec.rounds
    assert min(min(block["samples_s"]) for block in network["blocks"]) > 0
