"""The emulated Raspberry Pi: what its clock is worth, and how it comes back from anything."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from dataclasses import replace

import psutil
import pytest
from pydantic import ValidationError

from agents import sshpipe
from agents.emulated import qemu_pi, qemu_pi_guest
from agents.emulated.qemu_pi import QemuPiAgent, QemuPiOptions
from agents.emulated.qemu_pi_guest import Guest
from agents.emulated.qemu_pi_image import Image
from agents.sshdevice import SshDevice, SshOptions
from farm.errors import DeviceLost, DeviceUnfit
from farm.hosts import host_name
from farm.types import Job, Network
from tests.agents.conftest import measure_one

NETWORK = Network("test", "conv")


@pytest.fixture
def agent(standing_guest):
    agent = QemuPiAgent("emu-pi", QemuPiOptions.model_validate({}))
    agent.guest = standing_guest
    with agent:
        yield agent


@pytest.fixture
def own_agent(pi_image):  # noqa: ARG001
    """An agent whose guest may be maltreated."""
    with QemuPiAgent("emu-pi", QemuPiOptions.model_validate({})) as agent:
        yield agent


def test_is_a_raspberry_pi_of_this_computer(agent):
    facts = agent.facts()
    assert facts.target["mcpu"] == "cortex-a72"
    assert facts.identity["cpu"] == "ARM 0x41 0xd08"
    assert facts.identity["instruction_clock"] == "true"
    assert facts.host == host_name()
    assert facts.cores
    assert 400e6 < float(facts.info["memory_bytes"]) < 512 * 1024**2


def test_its_clock_counts_instructions(agent, arm64_artifact, quick):
    """Whatever this computer does meanwhile, and however late the guest is served."""
    spec = replace(quick, rounds=6, block_s=5e-3, sample_s=1e-3)
    found = [measure_one(agent, NETWORK, arm64_artifact, spec) for _ in range(2)]
    fastest_s = [min(min(block.samples_s) for block in m.blocks) for m in found]
    assert abs(fastest_s[0] / fastest_s[1] - 1) < 1e-3


def test_goes_on_after_a_reset_in_the_middle(own_agent, arm64_artifact, quick):
    before = own_agent.facts()
    measured = measure_one(own_agent, NETWORK, arm64_artifact, quick)
    pid = own_agent.guest.pid
    button = threading.Timer(1.0, own_agent.guest.reset)
    button.start()
    with pytest.raises(DeviceLost):
        own_agent.session([Job(NETWORK, arm64_artifact)], replace(quick, rounds=100_000), 0)
    assert own_agent.facts() == before
    again = measure_one(own_agent, NETWORK, arm64_artifact, quick)
    assert own_agent.guest.pid == pid
    assert abs(again.latency_s / measured.latency_s - 1) < 0.1


def test_is_switched_off_and_on_when_it_is_frozen(own_agent, arm64_artifact, quick, monkeypatch):
    own_agent.facts()
    frozen = psutil.Process(own_agent.guest.pid)
    monkeypatch.setattr(sshpipe, "SILENCE_S", 3.0)
    monkeypatch.setattr(qemu_pi_guest, "_AGAIN_S", 0.5)
    frozen.suspend()
    with pytest.raises(DeviceLost, match="is silent for 3 s"):
        own_agent.facts()
    monkeypatch.undo()
    assert measure_one(own_agent, NETWORK, arm64_artifact, quick).latency_s > 0
    assert not frozen.is_running()


@pytest.mark.usefixtures("pi_image")
def test_ends_with_the_process_that_started_it():
    """However that ends: this one is killed."""
    code = """if True:
        from agents.emulated.qemu_pi import QemuPiAgent, QemuPiOptions
        with QemuPiAgent("emu-pi", QemuPiOptions()) as agent:
            agent._login()
            print(agent.guest.pid, flush=True)
            input()
    """
    owner = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    qemu = psutil.Process(int(owner.stdout.readline()))
    owner.kill()
    owner.communicate()
    psutil.wait_procs([qemu], timeout=10)
    assert not qemu.is_running()


class TestAsAnySshDevice:
    """The same guest, with folders of its own, over the code path of a real Raspberry Pi."""

    @pytest.fixture
    def login(self, agent) -> SshOptions:
        return agent._login()

    @pytest.fixture
    def run(self, login, tmp_path, pi_image):
        """Runs a command on the device, with the system's own ssh."""
        user, _, port = login.host.rpartition(":")
        key = (pi_image.folder / "host_key.pub").read_text()
        (tmp_path / "known_hosts").write_text(f"[127.0.0.1]:{port} {key}")
        trust = f"-oUserKnownHostsFile={tmp_path / 'known_hosts'}"
        argv = ["ssh", "-oStrictHostKeyChecking=yes", trust, "-i", login.key, "-p", port, user]
        return lambda *words: subprocess.run([*argv, *words], check=True)

    def device(self, login: SshOptions, folder: str) -> SshDevice:
        return SshDevice(lambda: login.model_copy(update={"folder": folder}))

    def test_is_sent_what_it_needs_and_can_be_rid_of_it(self, login, run):
        device = self.device(login, "fresh")
        assert device.pipe().request({"op": "facts", "read": []}, 120)["result"]["uname"]
        device.close()
        run("test", "-d", "fresh")
        device.purge()
        with pytest.raises(subprocess.CalledProcessError):
            run("test", "-e", "fresh")

    def test_a_disk_that_runs_no_programs(self, login):
        with pytest.raises(DeviceUnfit, match=r"/run/lock/farm .* \(noexec\); name a folder"):
            self.device(login, "/run/lock/farm").pipe()

    def test_a_full_disk(self, login, run):
        device = self.device(login, "full")
        run("busybox", "fallocate", "-l", str(device.probe()["free_bytes"] - 10_000_000), "fill")
        try:
            with pytest.raises(
                DeviceUnfit, match=r"full needs \d+\.\d MB more, \d+\.\d MB are free"
            ):
                device.pipe()
        finally:
            run("rm", "fill")
            device.purge()


def test_its_image_is_deleted_by_a_purge(own_agent, pi_image, tmp_path, monkeypatch):
    copy = Image(tmp_path / "image")
    copy.folder.mkdir()
    shutil.copy(pi_image.key, copy.folder)
    monkeypatch.setattr(qemu_pi, "image", lambda: copy)
    own_agent.purge()
    assert not copy.folder.exists()
    assert pi_image.folder.exists()


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"cpu": "cortex-a15"}, "'cortex-a53', 'cortex-a72' or 'cortex-a76'"),
        ({"memory_bytes": 1000}, "greater than or equal to 268435456"),
        ({"threads": 2}, "`threads: 1`; write `instruction_clock: false` for 2"),
    ],
)
def test_options_are_those_of_a_pi(values, says):
    with pytest.raises(ValidationError, match=says):
        QemuPiOptions(**values)
    assert QemuPiOptions(threads=2, instruction_clock=False).threads == 2


def test_a_guest_that_does_not_boot_says_why(pi_image, tmp_path):
    broken = Image(tmp_path)
    for path in pi_image.folder.iterdir():
        (tmp_path / path.name).symlink_to(path)
    broken.kernel.unlink()
    guest = Guest("cortex-a72", 1, 256 * 1024**2, True)
    with pytest.raises(DeviceLost, match=r"does not boot: .*could not load kernel"):
        guest.on(broken, [0])
    assert guest.pid is None


def test_the_command_adds_it(farm, tmp_path, standing_guest, monkeypatch):
    monkeypatch.setattr(qemu_pi, "Guest", lambda *_: standing_guest)
    (tmp_path / "cluster.yaml").write_text(
        "measure: {min_sessions: 1, max_sessions: 1, rounds: 2}\ndevices: {}\n"
    )
    code, out, err = farm("device", "add", "emu-pi", "--kind", "qemu-pi", "--json")
    assert code == 0, err
    added = json.loads(out)
    assert added["facts"]["target"]["mcpu"] == "cortex-a72"
    assert added["known"]["latency_s"] > 0
    text = (tmp_path / "cluster.yaml").read_text()
    assert text.endswith("devices:\n  emu-pi:\n    kind: qemu-pi\n")
    assert farm("device", "remove", "emu-pi")[0] == 0
