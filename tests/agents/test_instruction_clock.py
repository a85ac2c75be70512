"""The instruction clock: what it counts, that it repeats, and what it says where it cannot work."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest
from pydantic import ValidationError

from agents.emulated import guest, plugin
from agents.emulated.instruction_clock import InstructionClockAgent, InstructionClockOptions
from agents.emulated.profiles import PROFILES, Cache, Counts, Profile, seconds
from farm.core.errors import DeviceUnfit
from farm.core.values import Network
from tests.agents.conftest import measure_one
from tests.system import need

pytestmark = pytest.mark.slow

NETWORK = Network("test", "conv")

PROGRAM = """\
.globl _start
.text
_start:
    adrp x1, buffer
    add x1, x1, :lo12:buffer
    mov x2, #{passes}
0:  mov x3, x1
    mov x4, #{lines}
1:  ldr x5, [x3], #64
    sub x4, x4, #1
    cbnz x4, 1b
    sub x2, x2, #1
    cbnz x2, 0b
    {last}
    mov x0, #0
    mov x8, #93
    svc #0
.bss
.balign 65536
buffer: .skip 262144
"""
"""Reads the lines of a buffer so many times over, and exits."""


def counted(folder: Path, caches: str, **parts: int | str) -> tuple[int, ...]:
    """Instructions, accesses and misses of each cache of such a program."""
    need(
        qemu_aarch64="qemu-user",
        aarch64_linux_gnu_as="binutils-aarch64-linux-gnu",
        cc="gcc and libc6-dev",
    )
    source, program, page = folder / "a.s", folder / "a", folder / "page"
    source.write_text(PROGRAM.format(**{"last": "", **parts}))
    subprocess.run(["aarch64-linux-gnu-as", "-o", folder / "a.o", source], check=True)
    subprocess.run(["aarch64-linux-gnu-ld", "-o", program, folder / "a.o"], check=True)
    arguments = f"{plugin.plugin()},page={page}{caches}"
    subprocess.run([plugin.QEMU, "-plugin", arguments, program], check=True)
    return struct.unpack_from("<6Q", page.read_bytes(), 8)


class TestPlugin:
    def test_counts_instructions_and_accesses(self, tmp_path):
        counts = counted(tmp_path, ",cache=64:4", lines=100, passes=7)
        assert counts == (3 + 7 * (2 + 3 * 100 + 2) + 3, 700, 100, 0, 0, 0)

    @pytest.mark.parametrize(
        ("caches", "lines", "misses"),
        [
            (",cache=4:1", 64, [64]),  # just fits: only the first pass misses
            (",cache=4:1", 65, [65 + 2 * 2]),  # one set of two lines, which drive each other out
            (",cache=4:4", 80, [80 * 3]),  # LRU over more than fits: nothing ever hits
            (",cache=4:2,cache=16:16", 128, [128 * 3, 128]),
            (",cache=2:2,cache=4:4,cache=8:8", 96, [96 * 3, 96 * 3, 96]),
        ],
    )
    def test_models_caches(self, tmp_path, caches, lines, misses):
        counts = counted(tmp_path, caches, lines=lines, passes=3)
        assert list(counts[2:]) == misses + [0] * (4 - len(misses))

    def test_counts_an_access_across_lines_twice(self, tmp_path):
        counts = counted(
            tmp_path, ",cache=4:1", lines=1, passes=1, last="add x1, x1, #188; ldr x5, [x1]"
        )
        assert counts[1:3] == (3, 3)

    @pytest.mark.parametrize("arguments", ["", ",cache=4", ",cache=4:0", ",page=/no/such/file"])
    def test_refuses_what_it_cannot_do(self, tmp_path, arguments):
        need(qemu_aarch64="qemu-user", cc="gcc and libc6-dev")
        page = f",page={tmp_path / 'page'}" if arguments else ""
        argv = [plugin.QEMU, "-plugin", f"{plugin.plugin()}{page}{arguments}", "/bin/true"]
        done = subprocess.run(argv, check=False, capture_output=True, text=True)
        assert done.returncode != 0
        assert "insnclock" in done.stderr


class TestDevice:
    @pytest.fixture
    def counts(self, arm64_artifact, quick):
        def measure(profile):
            options = InstructionClockOptions(profile=profile)
            with InstructionClockAgent("clock", options) as agent:
                found = measure_one(agent, NETWORK, arm64_artifact, quick)
            return found.blocks[0].telemetry, found.latency_s

        return measure

    def test_two_runs_give_the_same_counts(self, counts):
        assert counts("cortex-a72") == counts("cortex-a72")

    def test_latency_is_the_formula_of_the_counts(self, counts):
        telemetry, latency_s = counts("cortex-a76")
        misses = tuple(int(telemetry[f"l{level}_misses"]) for level in (1, 2, 3))
        found = Counts(int(telemetry["instructions"]), int(telemetry["accesses"]), misses)
        assert latency_s == seconds(found, PROFILES["cortex-a76"])
        assert found.instructions > found.accesses > misses[0] >= misses[1] >= misses[2]

    def test_profiles_are_different_devices(self):
        need(qemu_aarch64="qemu-user", cc="gcc and libc6-dev")
        prints = set()
        for profile in PROFILES:
            with InstructionClockAgent("clock", InstructionClockOptions(profile=profile)) as agent:
                prints.add(agent.facts().fingerprint)
        assert len(prints) == len(PROFILES)


def test_seconds_adds_stalls_to_what_the_front_end_takes():
    profile = Profile(
        cpu="max",
        clock_hz=1e9,
        width=2,
        caches=[Cache(kib=4, ways=1, miss_cycles=10), Cache(kib=8, ways=1, miss_cycles=100)],
    )
    assert seconds(Counts(1000, 500, (7, 3)), profile) == pytest.approx(870e-9)


class TestOptions:
    @pytest.mark.parametrize(
        ("values", "says"),
        [
            ({"profile": "cortex-a9"}, "cortex-a53"),
            ({"core": -1}, "greater than or equal to 0"),
            ({"profile": {"cpu": "max", "clock_hz": 0, "width": 1}}, "greater than 0"),
            ({"profile": {"cpu": "a b", "clock_hz": 1e9, "width": 1}}, "match pattern"),
            ({"profile": {"cpu": "max", "clock_hz": 1e9, "width": 1, "cache": []}}, "Extra"),
        ],
    )
    def test_refuse_what_cannot_be(self, values, says):
        with pytest.raises(ValidationError, match=says):
            InstructionClockOptions(**values)

    def test_a_cache_has_whole_sets(self):
        with pytest.raises(ValidationError, match="`ways` must divide the 64 lines, got 3"):
            Cache(kib=4, ways=3, miss_cycles=1)


class TestUnfit:
    @pytest.fixture
    def nothing_installed(self, tmp_path, monkeypatch):
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    @pytest.mark.usefixtures("nothing_installed")
    def test_without_qemu(self):
        with (
            InstructionClockAgent("clock", InstructionClockOptions()) as agent,
            pytest.raises(DeviceUnfit, match=r"no qemu-aarch64 is installed; .*qemu-user"),
        ):
            agent.facts()

    @pytest.mark.usefixtures("nothing_installed")
    def test_without_a_compiler(self, monkeypatch):
        monkeypatch.setattr(plugin, "qemu_version", lambda: "7.2.22")
        with pytest.raises(DeviceUnfit, match="no C compiler `cc` is installed"):
            plugin.plugin()

    def test_with_a_qemu_that_is_none(self, tmp_path, monkeypatch):
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        qemu = tmp_path / plugin.QEMU
        qemu.write_text("#!/bin/sh\necho hello\n")
        qemu.chmod(0o755)
        plugin._version.cache_clear()
        with pytest.raises(DeviceUnfit, match="must say its version, got 'hello"):
            plugin.qemu_version()
        plugin._version.cache_clear()

    def test_with_a_core_that_is_not_there(self):
        agent = InstructionClockAgent("clock", InstructionClockOptions(core=4095))
        with pytest.raises(DeviceUnfit, match="4095"), agent:
            pytest.fail("it started")


def test_the_guest_is_made_once(arm64_artifact):  # noqa: ARG001 - it says what is missing
    assert guest.prepared() == guest.prepared()
    assert (guest.prepared() / "bytecode/proc/self/cwd/agents").is_dir()
