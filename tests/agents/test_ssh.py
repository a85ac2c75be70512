"""Devices over SSH: whether they can be used, what they are, how they come back."""

from __future__ import annotations

import itertools
import time

import pytest

from agents.remote import device
from agents.remote.agent import SshAgent
from agents.remote.device import SshOptions, must_fit, patiently
from agents.runner_protocol import own_target
from farm.core.errors import DeviceBusy, DeviceLost, DeviceUnfit
from farm.core.hosts import host_name
from farm.core.values import Network
from tests.agents.conftest import entry_of, measure_one
from tests.sshd import sshd

pytestmark = pytest.mark.slow

NETWORK = Network("test", "conv")

SEEN = {
    "uname": ["Linux", "pi", "6.12", "#1", "aarch64"],
    "python": "3.11.2",
    "pointer_bits": 64,
    "clock_s": 1e9,
    "folder": "/home/pi/.latency-farm",
    "noexec": False,
}

CPUINFO = """\
processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: {implementer}
CPU architecture: 8
CPU part\t: {part}
"""


class TestFitness:
    def test_of_a_raspberry_pi(self):
        must_fit(SEEN, 1e9 + 3000, "pi")

    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            (
                {"uname": ["Darwin", "", "", "", "arm64"]},
                "pi@x is Darwin on arm64; 64-bit Linux on",
            ),
            ({"uname": ["Linux", "", "", "", "armv7l"]}, r"is Linux on armv7l; .* \(64-bit\)"),
            ({"pointer_bits": 32}, r"32-bit Python on a kernel for aarch64; .* \(64-bit\)"),
            ({"noexec": True}, r"runs no programs \(noexec\); name a folder on another disk"),
            ({"clock_s": 1e9 - 7200}, r"clock of pi@x is 2\.0 h behind; set it"),
            ({"clock_s": 1e9 + 86400}, r"clock of pi@x is 24\.0 h ahead; set it"),
        ],
    )
    def test_says_what_to_do(self, changes, says):
        with pytest.raises(DeviceUnfit, match=says):
            must_fit({**SEEN, **changes}, 1e9, "pi@x")


class TestTarget:
    @pytest.mark.parametrize(
        ("part", "core"),
        [("0xd03", "cortex-a53"), ("0xd08", "cortex-a72"), ("0xd0b", "cortex-a76")],
    )
    def test_of_raspberry_pis_3_4_and_5(self, part, core):
        files = {"/proc/cpuinfo": CPUINFO.format(implementer="0x41", part=part)}
        target = own_target({"uname": SEEN["uname"], "files": files})
        assert target["mcpu"] == core
        assert target["mtriple"] == "aarch64-linux-gnu"

    @pytest.mark.parametrize(("implementer", "part"), [("0x41", "0xd40"), ("0x61", "0xd08")])
    def test_of_other_arm64_computers_is_what_all_of_them_run(self, implementer, part):
        files = {"/proc/cpuinfo": CPUINFO.format(implementer=implementer, part=part)}
        assert "mcpu" not in own_target({"uname": SEEN["uname"], "files": files})


class TestPatience:
    @pytest.fixture
    def slept(self, monkeypatch):
        """Pauses that were made, without making them."""
        pauses, clock_s = [], itertools.count(0.0, 0.0)
        monkeypatch.setattr(time, "sleep", pauses.append)
        monkeypatch.setattr(time, "monotonic", lambda: next(clock_s) + sum(pauses))
        return pauses

    def test_grows_longer_until_the_device_is_there(self, slept):
        answers = iter([DeviceLost("off")] * 6 + ["there"])

        def attempt():
            answer = next(answers)
            if isinstance(answer, DeviceLost):
                raise answer
            return answer

        assert patiently(attempt, 60.0) == "there"
        assert slept == [0.25, 0.5, 1.0, 2.0, 4.0, 4.0]

    def test_ends(self, slept):
        def attempt():
            raise DeviceLost("off")

        with pytest.raises(DeviceLost, match="off"):
            patiently(attempt, 10.0)
        assert 5 < sum(slept) <= 10

    def test_is_not_for_what_no_patience_helps(self, slept):
        def attempt():
            raise DeviceUnfit("32 bits")

        with pytest.raises(DeviceUnfit):
            patiently(attempt, 10.0)
        assert slept == []


class TestAgent:
    def test_on_this_computer_takes_turns_with_its_other_devices(self, ssh_entry):
        with SshAgent("ssh1", SshOptions(**ssh_entry)) as agent:
            assert agent.facts().host == host_name()

    def test_comes_back_when_the_host_does(self, tmp_path, artifact, quick):
        with sshd(tmp_path) as server:
            agent = SshAgent("ssh1", SshOptions(**entry_of(server)))
            with agent:
                before = agent.facts()
                port = server.address.port
                server.stop()
                with pytest.raises(DeviceLost):
                    agent.facts()
                with sshd(tmp_path, port=port):
                    assert agent.facts() == before
                    assert measure_one(agent, NETWORK, artifact, quick).latency_s > 0

    def test_is_of_one_farm_at_a_time(self, ssh_entry, monkeypatch, artifact, quick):
        monkeypatch.setattr(device, "_PATIENCE_S", 0.2)
        options = SshOptions(**ssh_entry)
        with SshAgent("ours", options) as ours, SshAgent("theirs", options) as theirs:
            ours.facts()
            with pytest.raises(DeviceBusy, match=r"\.latency-farm is in use by .*@.* since 20"):
                theirs.facts()
            assert measure_one(ours, NETWORK, artifact, quick).latency_s > 0
        with SshAgent("theirs", options) as theirs:
            assert theirs.facts()
