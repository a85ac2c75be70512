"""`farm device add` and `remove`, with a real SSH server on this computer as the device."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from farm.devices import onboarding
from tests.sshd import Sshd, sshd
from tests.system import need

pytestmark = pytest.mark.slow

PRETEND = {
    "another machine": "os.uname = lambda: ['Linux', 'pi', '6.1', '#1', 'armv6l']",
    "32 bits": "import struct; struct.calcsize = lambda _: 4",
    "last year": "now = time.time; time.time = lambda: now() - 365 * 86400",
    "no room": "used = shutil.disk_usage; shutil.disk_usage = lambda _: used('/')._replace(free=9)",
}
"""What is done to Python on the device, before the farm's program begins there."""

GO_ON = "exec(sys.argv.pop(1))"

EMPTY = """\
store: results
measure: {warmup_s: 0.0, rounds: 2, block_s: 0.001, min_sessions: 1, max_sessions: 1}
devices:
  # the only one so far
  a: {kind: cpu}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> str:
    """Where the known network is built once."""
    return str(tmp_path_factory.mktemp("store"))


@pytest.fixture
def device(farm, server: Sshd, store: str, tmp_path, monkeypatch):
    """Runs `farm device ...` where the server is not in known_hosts yet."""
    (tmp_path / "cluster.yaml").write_text(EMPTY)
    monkeypatch.setattr(onboarding, "KNOWN_HOSTS", tmp_path / "known_hosts")
    yield lambda *words: farm("device", *words, "--store", store)
    assert list(server.home.iterdir()) == [], "the device must be left clean"


def login(server: Sshd) -> list[str]:
    words = ["--kind", "ssh", "--host", str(server.address), "--key", str(server.key)]
    return [*words, "--set", f"python={sys.executable}"]


def vouched(server: Sshd) -> list[str]:
    return [*login(server), "--fingerprint", server.host_key.fingerprint]


def test_a_device_comes_and_goes(device, server, tmp_path):
    code, out, err = device("add", "pi4", *vouched(server), "--json")
    assert code == 0, err
    assert f"is {server.host_key}." in err
    added = json.loads(out)
    assert (added["device"], added["kind"]) == ("pi4", "ssh")
    assert added["options"]["host_key"] == str(server.host_key)
    assert added["known"]["latency_s"] > 0
    assert added["facts"]["target"]["kind"] == "llvm"
    assert added["certificate"]["latency_s"].keys() > {added["known"]["network"]}
    assert added["certificate"]["drift"] is None
    text = (tmp_path / "cluster.yaml").read_text()
    assert text.startswith(EMPTY + "  pi4:\n    kind: ssh\n")
    assert "pi4" in device("list")[1]
    shown = json.loads(device("show", "pi4", "--json")[1])
    assert shown["fingerprint"] == added["facts"]["fingerprint"]
    assert shown["health"]["certificate"] == added["certificate"]

    code, _, err = device("add", "pi4", *vouched(server))
    assert (code, "has a device 'pi4' already" in err) == (2, True)
    code, out, _ = device("remove", "pi4", "--purge", "--json")
    assert (code, json.loads(out)) == (0, {"device": "pi4", "removed": True, "purged": True})
    assert (tmp_path / "cluster.yaml").read_text() == EMPTY


def test_a_person_reads_what_was_found(device, server):
    code, out, _ = device("add", "pi4", *vouched(server))
    assert code == 0
    for words in (
        "pi4 is in the farm",
        "known network",
        "the right output",
        "memory_bytes",
        "not looked for",
    ):
        assert words in out
    code, out, _ = device("remove", "pi4", "--purge")
    assert (code, "its folder is deleted" in out) == (0, True)


class TestTrust:
    def test_nobody_vouches(self, device, server):
        code, _, err = device("add", "pi4", *login(server))
        assert code == 2
        assert f"nobody vouches for the host key of {server.address.place}" in err
        assert f"--fingerprint {server.host_key.fingerprint}" in err

    def test_known_hosts_vouches(self, device, server, tmp_path):
        public = server.key.with_name("host_key.pub").read_text()
        (tmp_path / "known_hosts").write_text(f"{server.address.place} {public}")
        code, _, err = device("add", "pi4", *login(server))
        assert code == 0, err
        device("remove", "pi4", "--purge")

    def test_known_hosts_says_otherwise(self, device, server, tmp_path):
        public = server.key.with_name("key.pub").read_text()
        (tmp_path / "known_hosts").write_text(f"{server.address.place} {public}")
        code, _, err = device("add", "pi4", *login(server))
        assert (code, "somebody may be in between" in err) == (1, True)

    def test_a_wrong_fingerprint(self, device, server):
        code, _, err = device("add", "pi4", *login(server), "--fingerprint", "SHA256:abc")
        assert (code, "but --fingerprint says SHA256:abc" in err) == (1, True)

    @pytest.mark.parametrize(("answer", "code"), [("yes", 0), ("no", 2), ("", 2)])
    def test_a_person_at_a_terminal_is_asked(self, device, server, monkeypatch, answer, code):
        asked = []
        monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
        monkeypatch.setattr("typer.prompt", lambda text, **_: asked.append(text) or answer)
        assert device("add", "pi4", *login(server))[0] == code
        assert asked == [
            f"The host shows the key {server.host_key}. Is that what it should be? Type yes"
        ]
        if code == 0:
            device("remove", "pi4", "--purge")


class TestUnfit:
    """Each ends in one line, and leaves the device and the file as they were."""

    @pytest.fixture
    def refused(self, device, server, tmp_path):
        def add(*words: str) -> str:
            code, out, err = device("add", "pi4", *vouched(server), *words)
            assert (code != 0, out) == (True, "")
            assert (tmp_path / "cluster.yaml").read_text() == EMPTY
            (line,) = [line for line in err.splitlines() if not line.startswith("The host key")]
            return line

        return add

    def test_without_python(self, refused):
        assert "has no command 'python3.99'" in refused("--set", "python=python3.99")

    @pytest.mark.parametrize(
        ("pretended", "says"),
        [
            ("another machine", r"is Linux on armv6l; 64-bit Linux on .* Raspberry Pi OS \(64-bit"),
            ("32 bits", r"a 32-bit Python on a kernel for .*; TVM needs .* with `python:`"),
            ("last year", r"the clock of .* is 8760\.0 h behind; set it, for example with"),
            ("no room", r"needs [0-9.]+ MB, 0\.0 MB are free; .* another disk with `folder:`"),
        ],
    )
    def test_as_it_is(self, refused, tmp_path, pretended, says):
        python, code = tmp_path / "python3", f"import os, shutil, sys, time; {PRETEND[pretended]}"
        python.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{code}; {GO_ON}" "$4" "$5"\n')
        python.chmod(0o755)
        assert re.search(says, refused("--set", f"python={python}"))

    def test_with_a_key_that_is_not_accepted(self, device, server, tmp_path):
        key = tmp_path / "other"
        subprocess.run(["ssh-keygen", "-qt", "ed25519", "-N", "", "-f", key], check=True)
        words = [str(key) if word == str(server.key) else word for word in vouched(server)]
        code, _, err = device("add", "pi4", *words)
        assert (code, f"does not accept the key {key}; append {key}.pub" in err) == (1, True)

    def test_with_a_target_that_tvm_refuses(self, refused):
        assert "pentium9" in refused("--set", "target={kind: llvm, mcpu: pentium9}")

    def test_with_code_for_another_machine(self, refused):
        need(aarch64_linux_gnu_ld="binutils-aarch64-linux-gnu")
        other = "target={kind: llvm, mtriple: aarch64-linux-gnu}"
        assert "does not load" in refused("--set", other)

    def test_with_cores_that_it_does_not_have(self, refused):
        assert "must be free CPUs" in refused("--set", "cores=[4000]")

    def test_with_a_folder_that_cannot_be(self, refused):
        assert "No such file or directory" in refused("--set", "folder=no/where")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--kind", "ssh"], "--kind ssh needs --host USER@HOST and --key FILE"),
        (["--kind", "ssh", "--host", "pi", "--key", "k"], "`host` is written USER@HOST"),
        (["--kind", "cpu", "--host", "a@b"], "are for --kind ssh, not 'cpu'"),
        (["--kind", "cpu", "--set", "threads"], "--set takes KEY=VALUE, got 'threads'"),
        (["--kind", "cpu", "--set", "cores=["], "'[' is not YAML"),
        (["--kind", "cpu", "--set", "treads=1"], "did you mean `threads`?"),
        (["--kind", "sssh"], "did you mean 'ssh'?"),
    ],
)
def test_words_that_make_no_device(device, words, says):
    code, _, err = device("add", "x", *words)
    assert (code, says in err) == (2, True), err


def test_a_device_of_another_kind_is_added_too(device, tmp_path):
    code, out, err = device("add", "one", "--kind", "cpu", "--set", "threads=1", "--json")
    assert code == 0, err
    assert json.loads(out)["known"]["latency_s"] > 0
    assert (
        tmp_path / "cluster.yaml"
    ).read_text() == EMPTY + "  one:\n    kind: cpu\n    threads: 1\n"
    code, _, err = device("remove", "two")
    assert (code, "no device 'two'" in err) == (2, True)
