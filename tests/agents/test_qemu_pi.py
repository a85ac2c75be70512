"""The emulated Raspberry Pi: what its clock is worth, and how it comes back from anything."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from pydantic import ValidationError

from agents.emulated import qemu_pi, qemu_pi_guest
from agents.emulated.qemu_pi import QemuPiAgent, QemuPiOptions
from agents.emulated.qemu_pi_guest import Guest
from agents.emulated.qemu_pi_image import Image
from agents.remote import pipe
from agents.remote.device import SshDevice, SshOptions
from farm.core.errors import DeviceLost, DeviceUnfit
from farm.core.hosts import cache_folder, host_name
from farm.core.values import Network
from farm.measurement.spec import MeasureSpec
from tests.agents.conftest import measure_one

pytestmark = pytest.mark.slow

NETWORK = Network("test", "conv")


@pytest.fixture(scope="class")
def agent(standing_guest):
    """For the tests of a class: a connection starts Python twice in the guest."""
    agent = QemuPiAgent("emu-pi", QemuPiOptions.model_validate({}))
    agent.guest = standing_guest
    with agent:
        yield agent


@pytest.fixture
def own_agent(pi_image):  # noqa: ARG001
    """An agent whose guest may be maltreated."""
    with QemuPiAgent("emu-pi", QemuPiOptions.model_validate({})) as agent:
        yield agent


class TestMeasured:
    def test_is_a_raspberry_pi_of_this_computer(self, agent):
        facts = agent.facts()
        assert facts.target["mcpu"] == "cortex-a72"
        assert facts.identity["cpu"] == "ARM 0x41 0xd08"
        assert facts.identity["instruction_clock"] == "true"
        assert facts.host == host_name()
        assert facts.cores
        assert 400e6 < float(facts.info["memory_bytes"]) < 512 * 1024**2

    def test_its_clock_counts_instructions(self, agent, arm64_artifact, quick):
        """Whatever this computer does meanwhile, and however late the guest is served."""
        spec = replace(quick, rounds=6, block_s=5e-3, sample_s=1e-3)
        found = [measure_one(agent, NETWORK, arm64_artifact, spec) for _ in range(2)]
        fastest_s = [min(min(block.samples_s) for block in m.blocks) for m in found]
        assert abs(fastest_s[0] / fastest_s[1] - 1) < 1e-3


def test_is_switched_off_and_on_when_it_is_frozen(own_agent, arm64_artifact, quick, monkeypatch):
    own_agent.facts()
    frozen = psutil.Process(own_agent.guest.pid)
    monkeypatch.setattr(qemu_pi_guest, "_AGAIN_S", 5.0)
    frozen.suspend()
    with monkeypatch.context() as patch:
        patch.setattr(pipe, "SILENCE_S", 1.0)
        with pytest.raises(DeviceLost, match="is silent for 3 s"):
            own_agent.facts()
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
            with pytest.raises(DeviceUnfit, match=r"full needs \d+\.\d MB, \d+\.\d MB are free"):
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


def test_advises_to_count_instructions_only_once():
    advice = QemuPiAgent("emu-pi", QemuPiOptions()).advice()
    assert advice["controls"] == {"every": 0}
    assert MeasureSpec(**advice["measure"]).max_sessions == 1
    own_clock = QemuPiOptions(instruction_clock=False)
    assert QemuPiAgent("emu-pi", own_clock).advice() == {}


def test_a_guest_that_does_not_boot_says_why(pi_image, tmp_path):
    broken = Image(tmp_path)
    for path in pi_image.folder.iterdir():
        (tmp_path / path.name).symlink_to(path)
    broken.kernel.unlink()
    guest = Guest("cortex-a72", 1, 256 * 1024**2, True)
    with pytest.raises(DeviceLost, match=r"does not boot: .*could not load kernel"):
        guest.on(broken, [0])
    assert guest.pid is None


CLUSTER = """\
store: results
devices:
  # the only one so far
  a: {kind: cpu}
"""

RANDOM = (
    *("launch", "--devices", "emu-pi", "--select", "random", "--budget", "1", "--holdout", "0"),
    *("--no-kernels", "--fresh", "--executor", "inline", "--json"),
)


@pytest.fixture
def own_cache(pi_image, tmp_path, monkeypatch):
    """A cache of its own, with links to the guest's files and to all else that the cache holds."""
    cache, ours = cache_folder(), tmp_path / "cache/latency-farm"
    guest = ours / "qemu-pi" / pi_image.folder.name
    guest.mkdir(parents=True)
    for path in pi_image.folder.iterdir():
        (guest / path.name).symlink_to(path)
    for path in cache.iterdir():
        if path.name != "qemu-pi":
            (ours / path.name).symlink_to(path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(ours.parent))
    return ours


@pytest.fixture
def reset_once(standing_guest, monkeypatch):
    """Presses the reset button in the middle of the first session, which would take hours."""
    pressed, real = [], QemuPiAgent.session

    def session(self, jobs, spec, number):
        if not pressed:
            pressed.append(True)
            spec = replace(spec, rounds=1_000_000)
            threading.Timer(2.0, standing_guest.reset).start()
        return real(self, jobs, spec, number)

    monkeypatch.setattr(QemuPiAgent, "session", session)
    return pressed


def test_its_life_by_commands(farm, tmp_path, standing_guest, own_cache, monkeypatch, request):
    """Added, measured, quarantined, released, reset in the middle and removed."""
    monkeypatch.setattr(qemu_pi, "Guest", lambda *_: standing_guest)
    config = tmp_path / "cluster.yaml"
    config.write_text(CLUSTER)

    def done(*words: str, code: int = 0) -> dict[str, Any]:
        found, out, err = farm(*words, "--json")
        assert found == code, err
        return dict(json.loads(out))

    once = "{min_sessions: 1, max_sessions: 1, rounds: 1, min_samples: 1, block_s: 0.001}"
    added = done("device", "add", "emu-pi", "--kind", "qemu-pi", "--set", f"measure={once}")
    assert added["facts"]["target"]["mcpu"] == "cortex-a72"
    assert len(added["certificate"]["latency_s"]) >= 3
    assert added["certificate"]["correct"]
    entry = f"  emu-pi:\n    kind: qemu-pi\n    measure: {once}\n    controls: {{every: 0}}\n"
    assert config.read_text() == CLUSTER + entry
    shown = done("device", "show", "emu-pi")
    assert shown["health"]["certificate"] == added["certificate"]

    assert done(*RANDOM, "--seed", "12")["measured"] == 1
    first = rows(tmp_path / "results")
    done("device", "quarantine", "emu-pi", "--reason", "its fan is broken")
    said = done(*RANDOM, "--seed", "2", code=1)
    assert (said["measured"], said["quarantined"]) == (0, {"emu-pi": "its fan is broken"})
    done("device", "release", "emu-pi")

    pid, pressed = standing_guest.pid, request.getfixturevalue("reset_once")
    said = done("campaign", "resume", "latest", "--executor", "inline")
    assert (said["measured"], said["failed"], pressed) == (1, 0, [True])
    after = rows(tmp_path / "results")
    assert (after[:1], len(after), standing_guest.pid) == (first, 2, pid)
    assert {row["fingerprint"] for row in after} == {added["facts"]["fingerprint"]}

    done("device", "remove", "emu-pi", "--purge")
    assert config.read_text() == CLUSTER
    assert list((own_cache / "qemu-pi").iterdir()) == []
    assert len(rows(tmp_path / "results")) == 2


def rows(store: Path) -> list[dict[str, Any]]:
    """What was measured, oldest first."""
    with sqlite3.connect(store / "farm.db") as database:
        database.row_factory = sqlite3.Row
        found = database.execute("select * from measurements order by id").fetchall()
    return [dict(row) for row in found]
