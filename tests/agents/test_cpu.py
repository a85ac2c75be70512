"""What CPU agents do beyond what every agent does."""

from __future__ import annotations

import os
import platform
import signal
from dataclasses import replace

import psutil
import pytest
from pydantic import ValidationError

from agents import runner_protocol
from agents.cpu import CpuAgent, CpuOptions, choose_cores
from farm.core.errors import BadArtifact, DeviceLost, DeviceUnfit
from farm.core.values import Network
from farm.measurement.record import Job
from tests.agents.conftest import measure_one

NETWORK = Network("test", "conv")
CORES = sorted(os.sched_getaffinity(0))


class TestOptions:
    def test_take_what_yaml_gives(self):
        options = CpuOptions(threads=2, cores=[3, 1], target={"kind": "llvm"})
        assert options.cores == (3, 1)
        assert CpuOptions() == CpuOptions(threads=1, cores=None, target=None)

    @pytest.mark.parametrize(
        ("values", "says"),
        [
            ({"threads": 0}, "greater than or equal to 1"),
            ({"threads": "2"}, "valid integer"),
            ({"threads": True}, "valid integer"),
            ({"cores": [-1]}, "greater than or equal to 0"),
            ({"cores": [True]}, "valid integer"),
            ({"cores": [1, 1]}, r"each of `cores` once, got \[1, 1\]"),
            ({"threads": 2, "cores": [1]}, r"2 `threads` need as many `cores`, got \[1\]"),
            ({"target": 3}, "valid"),
        ],
    )
    def test_refuse_what_cannot_be(self, values, says):
        with pytest.raises(ValidationError, match=says):
            CpuOptions(**values)


class TestChooseCores:
    def test_takes_the_last_ones_that_there_are(self):
        assert choose_cores(CpuOptions(threads=2), {0, 1, 5, 7}) == (5, 7)
        assert choose_cores(CpuOptions(threads=1), {3}) == (3,)

    def test_takes_those_that_were_asked_for(self):
        assert choose_cores(CpuOptions(cores=[2, 0]), {0, 1, 2}) == (2, 0)

    def test_says_how_many_there_are_and_what_to_change(self):
        says = r"`threads: 3` needs as many CPUs, this process may use 2 \(4,6\); lower `threads`"
        with pytest.raises(DeviceUnfit, match=says):
            choose_cores(CpuOptions(threads=3), {6, 4})
        with pytest.raises(DeviceUnfit, match=r"`cores: \[1, 9\]` must be free CPUs"):
            choose_cores(CpuOptions(cores=[1, 9]), {0, 1})

    def test_is_asked_before_anything_starts(self):
        agent = CpuAgent("cpu99", CpuOptions(threads=4096))
        with pytest.raises(DeviceUnfit, match="4096"), agent:
            pytest.fail("it started")

    def test_knows_all_cores_in_a_process_that_was_pinned_since(self, monkeypatch):
        """TVM pins the thread that starts its pool."""
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: {CORES[0]})
        with CpuAgent("all", CpuOptions(threads=len(CORES))) as agent:
            assert set(agent.facts().cores) >= set(CORES)


class TestFacts:
    def test_say_what_a_latency_depends_on(self):
        with CpuAgent("cpu1", CpuOptions(threads=1)) as agent:
            facts = agent.facts()
        assert facts.host == platform.node()
        assert CORES[-1] in facts.cores
        assert facts.identity["kernel"] == platform.release()
        assert facts.identity["threads"] == "1"
        assert facts.identity["cores"] == str(CORES[-1])
        assert {"cpu", "tvm", "tvm_ffi", "runtime"} <= set(facts.identity)
        assert facts.info["memory_bytes"] == str(psutil.virtual_memory().total)
        assert facts.target["kind"] == "llvm"

    def test_of_two_devices_differ(self):
        prints = set()
        for options in (CpuOptions(), CpuOptions(cores=CORES), CpuOptions(target="llvm")):
            with CpuAgent("cpu", options) as agent:
                prints.add(agent.facts().fingerprint)
        assert len(prints) == 3

    def test_name_the_target_that_was_asked_for(self):
        with CpuAgent("cpu", CpuOptions(target="raspberry-pi/4b-aarch64")) as agent:
            assert agent.facts().target == "raspberry-pi/4b-aarch64"

    def test_ask_for_a_target_on_other_architectures(self, monkeypatch):
        seen = {"uname": ["Linux", "host", "6.1", "#1", "riscv64"], "files": {}, "python": "3.13"}
        seen["affinity"] = [0]
        monkeypatch.setattr(CpuAgent, "_ask", lambda *_: seen)
        with CpuAgent("cpu", CpuOptions()) as agent, pytest.raises(DeviceUnfit, match="riscv64"):
            agent.facts()


class TestArtifacts:
    def test_there_must_be_one(self, quick):
        with CpuAgent("cpu", CpuOptions()) as agent, pytest.raises(BadArtifact, match="test/conv"):
            measure_one(agent, NETWORK, None, quick)

    def test_a_missing_library_is_named(self, artifact, quick, tmp_path):
        lost = replace(artifact, library=tmp_path / "gone.so")
        with CpuAgent("cpu", CpuOptions()) as agent, pytest.raises(BadArtifact, match=r"gone\.so"):
            measure_one(agent, NETWORK, lost, quick)


class TestLoss:
    @pytest.mark.slow
    def test_a_frozen_runner_is_given_up_and_started_again(self, artifact, quick, monkeypatch):
        monkeypatch.setattr(runner_protocol, "MARGIN_S", 0.1)
        with CpuAgent("cpu", CpuOptions()) as agent:
            agent.facts()
            frozen = psutil.Process(agent._pipe.pid)
            frozen.send_signal(signal.SIGSTOP)
            with pytest.raises(DeviceLost, match=r"silent for 0\.2 s"):
                agent.session([Job(NETWORK, artifact)], replace(quick, timeout_s=0.1), 0)
            assert not frozen.is_running()
            monkeypatch.undo()
            assert measure_one(agent, NETWORK, artifact, quick).latency_s > 0

    def test_a_runner_that_died_in_between_is_started_again(self, artifact, quick):
        with CpuAgent("cpu", CpuOptions()) as agent:
            agent.facts()
            os.kill(agent._pipe.pid, signal.SIGKILL)
            with pytest.raises(DeviceLost, match="ended with -9"):
                measure_one(agent, NETWORK, artifact, quick)
            assert measure_one(agent, NETWORK, artifact, quick).latency_s > 0


def test_another_seed_is_measured_without_a_reference(artifact, quick):
    with CpuAgent("cpu", CpuOptions()) as agent:
        assert measure_one(agent, NETWORK, artifact, replace(quick, seed=9)).latency_s > 0


def test_rounds_are_apart(artifact, quick):
    with CpuAgent("cpu", CpuOptions()) as agent:
        found = measure_one(agent, NETWORK, artifact, replace(quick, rounds=3, pause_s=0.3))
    assert found.device_s >= 2 * 0.3


def test_a_telemetry_counts_what_disturbed_the_network(artifact, quick):
    with CpuAgent("cpu", CpuOptions()) as agent:
        blocks = measure_one(agent, NETWORK, artifact, quick).blocks
    assert len(blocks) == quick.rounds
    for block in blocks:
        seen = block.telemetry
        assert {"involuntary_switches", "steal_s", "load1", "utc_elapsed_s"} <= set(seen)
        assert seen["elapsed_s"] >= block.timed_s
        assert seen["clock_probe_s"] > 0
        # Whoever computes all the time is either on its core or waits for it.
        assert 0.5 * block.timed_s < seen["cpu_s"] + seen["waited_s"] < 2 * seen["elapsed_s"]
