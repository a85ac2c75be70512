"""The GPU agent, as far as a computer without a GPU can show it.

The runner, TVM's runtime for CUDA and the machine code are real; a stand-in takes the place of the
driver and of CUDA's runtime, and computes nothing but zeros. What no test here can show is
that kernels compute what they should, and how long they take: `benchmarks/gpu_check.py` does.
"""

from __future__ import annotations

import platform
from dataclasses import replace

import pytest

from agents.gpu import GpuAgent, GpuOptions, gpu_target
from agents.runner_protocol import gpu_telemetry
from farm.core.errors import DeviceUnfit, NetworkCrashed, WrongOutput
from farm.core.values import Artifact, Network
from farm.measurement.record import Job
from farm.measurement.spec import MeasureSpec
from tests.agents import cuda_stand_in
from tests.agents.conftest import expecting_zeros

pytestmark = pytest.mark.slow

NETWORK = Network("test", "conv")
SPEC = MeasureSpec(warmup_s=0.0, rounds=2, block_s=1e-3, sample_s=1e-4)


@pytest.fixture
def gpu(stand_in_here: None) -> GpuAgent:  # noqa: ARG001
    return GpuAgent("h100", GpuOptions())


@pytest.fixture
def job(gpu_artifact: Artifact) -> Job:
    return Job(NETWORK, expecting_zeros(gpu_artifact))


def test_without_a_driver_it_says_what_is_missing():
    if cuda_stand_in.driver_here():
        pytest.skip("this computer has an NVIDIA driver")
    with GpuAgent("h100", GpuOptions()) as agent:
        with pytest.raises(DeviceUnfit, match=r"no NVIDIA driver here \(libcuda.*`nvidia-smi` mu"):
            agent.facts()
        with pytest.raises(DeviceUnfit, match="no NVIDIA driver"):
            agent.facts()


class TestFacts:
    def test_are_of_the_gpu_and_of_its_host(self, gpu):
        with gpu as agent:
            facts = agent.facts()
            assert agent.facts() == facts
        assert facts.target == gpu_target("90", platform.machine())
        assert facts.identity["gpu_name"] == "NVIDIA H100 80GB HBM3"
        assert facts.identity["gpu_driver"] == "580.159.04"
        assert float(facts.identity["gpu_power_limit_w"]) == 700
        assert float(facts.info["gpu_max_clock_hz"]) == 1.98e9
        assert int(facts.info["gpu_l2_bytes"]) == 1 << 20
        assert int(facts.info["memory_bytes"]) == 81559 << 20, "the host's does not matter"
        assert {"cpu", "kernel", "tvm", "runtime"} <= set(facts.identity)
        assert len(facts.cores) >= 1

    @pytest.mark.usefixtures("gpu")
    def test_name_the_target_that_was_asked_for(self):
        with GpuAgent("h100", GpuOptions(target="nvidia/nvidia-h100")) as agent:
            assert agent.facts().target == "nvidia/nvidia-h100"

    @pytest.mark.parametrize(
        ("setting", "value", "index", "says"),
        [
            ("STAND_IN_NO_GPU", "1", 0, "NVIDIA driver answers cuInit with error 100"),
            ("STAND_IN_DRIVER", "12040", 0, r"driver is for CUDA 12\.4 and this runtime is 13\.0"),
            ("STAND_IN_DRIVER", "13000", 1, "there is no GPU 1, the driver shows 1"),
        ],
    )
    @pytest.mark.usefixtures("gpu")
    def test_say_why_a_gpu_cannot_be_used(self, monkeypatch, setting, value, index, says):
        monkeypatch.setenv(setting, value)
        agent = GpuAgent("h100", GpuOptions(index=index))
        with agent, pytest.raises(DeviceUnfit, match=says):
            agent.facts()

    def test_of_a_later_driver_are_fine(self, gpu, monkeypatch):
        monkeypatch.setenv("STAND_IN_DRIVER", "13020")
        with gpu as agent:
            assert agent.facts().identity["gpu_cuda"] == "13.2"


class TestSession:
    def test_times_a_network_by_events(self, gpu, job):
        with gpu as agent:
            (session,) = agent.session([job], SPEC, 0)
        assert len(session.blocks) == 2
        for block in session.blocks:
            assert len(block.samples_s) >= SPEC.min_samples
            assert all(sample > 0 for sample in block.samples_s)
            assert block.timed_s <= block.telemetry["elapsed_s"]
            assert block.telemetry["gpu_clock_hz"] == 1.755e9
            assert block.telemetry["gpu_power_w"] == pytest.approx(123.456)
            assert block.telemetry["gpu_temp_c"] == 41
            assert block.telemetry["throttled"] == 0

    def test_flushes_caches_before_each_run_in_the_gpus_own_memory(self, gpu, job, monkeypatch):
        flushing = replace(SPEC, flush_bytes=8 << 20)
        with gpu as agent:
            (session,) = agent.session([job], flushing, 0)
            assert {block.runs_per_sample for block in session.blocks} == {1}
        monkeypatch.setenv("STAND_IN_LARGEST", str(1 << 20))
        with gpu as agent:
            assert agent.session([job], SPEC, 0)
            with pytest.raises(NetworkCrashed, match="cudaErrorMemoryAllocation"):
                agent.session([job], flushing, 0)

    def test_sees_that_heat_holds_the_clock_down(self, gpu, job, monkeypatch):
        monkeypatch.setenv("STAND_IN_REASONS", "0x21")
        with gpu as agent:
            (session,) = agent.session([job], SPEC, 0)
        assert {block.telemetry["throttled"] for block in session.blocks} == {0x20}

    def test_leaves_out_what_the_driver_does_not_show(self, gpu, job, monkeypatch):
        monkeypatch.setenv("STAND_IN_BLIND", "1")
        with gpu as agent:
            (session,) = agent.session([job], SPEC, 0)
        telemetry = session.blocks[0].telemetry
        assert "gpu_power_w" not in telemetry
        assert "gpu_temp_c" in telemetry

    def test_finds_out_that_nothing_was_computed(self, gpu, gpu_artifact):
        with gpu as agent, pytest.raises(WrongOutput, match="is off by"):
            agent.session([Job(NETWORK, gpu_artifact)], SPEC, 0)


def test_a_clock_that_was_held_down_before_or_after_was_held_down():
    before, after = {"throttled": 0x4, "power_w": 1.0}, {"throttled": 0x20, "power_w": 2.0}
    assert gpu_telemetry(before, after) == {"throttled": 0x24, "gpu_power_w": 2.0}
    assert gpu_telemetry({}, {"throttled": 0x4}) == {"throttled": 0x4}
    assert gpu_telemetry({}, {}) == {}
