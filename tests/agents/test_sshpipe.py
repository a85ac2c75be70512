"""Connections over SSH: with a real server, and with hosts that are not what they should be.

What all pipes do is in test_pipe_conformance.py.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import psutil
import pytest

from agents.remote import transport
from agents.remote.pipe import SshPipe
from agents.remote.transport import Address, HostKey, host_keys, known_host_keys
from farm.core.errors import DeviceLost, DeviceUnfit
from tests.sshd import Sshd

pytestmark = pytest.mark.slow

KEY = HostKey("ssh-ed25519", "SHA256:abc")


def connect(server: Sshd, python: str = sys.executable, **changes) -> SshPipe:
    server = replace(server, **changes)
    return SshPipe(server.address, server.key, server.host_key, python)


@contextmanager
def host_that(says: bytes) -> Iterator[Address]:
    """A host that accepts connections, says something, and nothing more."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        accepted = []

        def accept() -> None:
            connection, _ = server.accept()
            connection.sendall(says)
            accepted.append(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        yield Address("pi", *server.getsockname())
        thread.join()
        accepted[0].close()


class TestAddress:
    @pytest.mark.parametrize(
        ("text", "address", "place"),
        [
            ("pi@raspberrypi", Address("pi", "raspberrypi"), "raspberrypi"),
            ("pi@192.0.2.7:2222", Address("pi", "192.0.2.7", 2222), "[192.0.2.7]:2222"),
            ("pi@[2001:db8::1]", Address("pi", "2001:db8::1"), "2001:db8::1"),
            ("a@b@[2001:db8::1]:22", Address("a@b", "2001:db8::1"), "2001:db8::1"),
        ],
    )
    def test_is_read_as_people_write_it(self, text, address, place):
        assert Address.parse(text) == address == Address.parse(str(address))
        assert address.place == place

    @pytest.mark.parametrize("text", ["raspberrypi", "@host", "pi@", "pi@host:ssh", "pi@host:0"])
    def test_needs_a_user_and_a_host(self, text):
        with pytest.raises(ValueError, match=r"USER@HOST or USER@HOST:PORT, got"):
            Address.parse(text)


class TestHostKey:
    def test_is_the_one_that_openssh_shows(self, ssh_server):
        public = ssh_server.key.with_name("host_key.pub")
        shown = subprocess.run(["ssh-keygen", "-lf", public], capture_output=True, text=True)
        assert shown.stdout.split()[1] == ssh_server.host_key.fingerprint
        assert HostKey.read(public) == ssh_server.host_key
        assert HostKey.parse(str(ssh_server.host_key)) == ssh_server.host_key
        assert host_keys(ssh_server.address) == [ssh_server.host_key]

    @pytest.mark.parametrize("text", ["SHA256:abc", "ssh-ed25519 MD5:ab", "", "ssh-ed25519"])
    def test_names_its_type(self, text):
        with pytest.raises(ValueError, match="`host_key` is written TYPE SHA256"):
            HostKey.parse(text)

    def test_is_found_in_known_hosts(self, ssh_server, tmp_path):
        place, file = ssh_server.address.place, tmp_path / "known_hosts"
        public = ssh_server.key.with_name("host_key.pub").read_text()
        file.write_text(f"{place} {public}\nelsewhere {public}")
        assert known_host_keys(ssh_server.address, file) == [ssh_server.host_key]
        assert known_host_keys(Address("pi", "unknown"), file) == []
        subprocess.run(["ssh-keygen", "-q", "-H", "-f", file], check=True, capture_output=True)
        assert known_host_keys(ssh_server.address, file) == [ssh_server.host_key]
        assert known_host_keys(ssh_server.address, tmp_path / "missing") == []


class TestLogin:
    def test_a_changed_host_key_is_refused_before_anything_is_sent(self, ssh_server):
        with pytest.raises(DeviceUnfit, match=r"pinned is ssh-ed25519 SHA256:abc: somebody may"):
            connect(ssh_server, host_key=KEY)

    def test_a_host_without_such_a_key_is_named(self, ssh_server):
        with pytest.raises(DeviceUnfit, match="has no host key of type ssh-rsa"):
            connect(ssh_server, host_key=HostKey("ssh-rsa", "SHA256:abc"))

    def test_a_key_that_is_not_accepted_is_named(self, ssh_server, tmp_path):
        key = tmp_path / "other"
        subprocess.run(["ssh-keygen", "-qt", "ed25519", "-N", "", "-f", key], check=True)
        with pytest.raises(DeviceUnfit, match=r"does not accept the key .*other; append .*\.pub"):
            connect(ssh_server, key=key)

    @pytest.mark.parametrize("what", ["missing", "no key", "passphrase"])
    def test_a_key_that_cannot_be_read_is_named(self, what, ssh_server, tmp_path):
        key = tmp_path / "key"
        if what == "no key":
            key.write_text("no key\n")
        if what == "passphrase":
            keygen = ["ssh-keygen", "-qt", "ed25519", "-N", "secret", "-f", key]
            subprocess.run(keygen, check=True)
        with pytest.raises(DeviceUnfit, match="must be a private key without a passphrase: "):
            connect(ssh_server, key=key)

    def test_an_unknown_user_is_as_good_as_a_wrong_key(self, ssh_server):
        with pytest.raises(DeviceUnfit, match=r"nobody-there@.* does not accept the key"):
            connect(ssh_server, address=replace(ssh_server.address, user="nobody-there"))


class TestHosts:
    def test_nobody_listens(self, tmp_path):
        with socket.create_server(("127.0.0.1", 0)) as closed:
            address = Address("pi", *closed.getsockname())
        with pytest.raises(DeviceLost, match=r"cannot be reached: Connection refused; is it on\?"):
            SshPipe(address, tmp_path, KEY, "python3")

    def test_no_such_name(self, tmp_path):
        with pytest.raises(DeviceLost, match=r"no-such-host\.invalid cannot be reached"):
            SshPipe(Address("pi", "no-such-host.invalid"), tmp_path, KEY, "python3")

    def test_one_accepts_and_says_nothing(self, tmp_path, monkeypatch):
        monkeypatch.setattr(transport, "CONNECT_S", 0.3)
        with (
            host_that(says=b"") as address,
            pytest.raises(DeviceLost, match=r"accepts the connection, but is silent for 0\.3 s"),
        ):
            SshPipe(address, tmp_path, KEY, "python3")

    def test_one_greets_and_says_nothing_more(self, tmp_path, monkeypatch):
        monkeypatch.setattr(transport, "CONNECT_S", 0.5)
        with (
            host_that(says=b"SSH-2.0-OpenSSH_9.2\r\n") as address,
            pytest.raises(DeviceLost, match="accepts the connection, but is silent"),
        ):
            SshPipe(address, tmp_path, KEY, "python3")

    def test_one_speaks_something_else(self, tmp_path, monkeypatch):
        monkeypatch.setattr(transport, "CONNECT_S", 2.0)
        with (
            host_that(says=b"HTTP/1.1 400 Bad Request\r\n\r\n" * 200) as address,
            pytest.raises(DeviceLost, match=r"breaks SSH off|silent for 2 s"),
        ):
            SshPipe(address, tmp_path, KEY, "python3")


@pytest.mark.usefixtures("ssh_entry")
class TestStart:
    def test_without_python_says_what_to_install(self, ssh_server):
        with pytest.raises(DeviceUnfit, match=r"no command 'python3\.99'; install Python 3\.9"):
            connect(ssh_server, python="python3.99")

    def test_with_an_old_python_says_which(self, ssh_server, tmp_path):
        old = tmp_path / "python3"
        pretend = "import sys; sys.version_info = (3, 7, 3); exec(sys.argv.pop(1))"
        old.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{pretend}" "$4" "$5"\n')
        old.chmod(0o755)
        with pytest.raises(DeviceUnfit, match=r"Python 3\.9 or later is needed, this is 3\.7"):
            connect(ssh_server, python=str(old))

    def test_with_something_else_shows_what_it_says(self, ssh_server):
        with pytest.raises(DeviceUnfit, match=r"does not run echo: .*its shell says b'-I -S"):
            connect(ssh_server, python="echo")

    def test_the_profile_of_the_shell_may_say_anything(self, ssh_server):
        profile = ssh_server.home / ".bashrc"
        profile.write_text("echo Welcome; echo '{\"id\": 1}'; echo trouble >&2; printf half-a-line")
        with connect(ssh_server) as pipe:
            assert pipe.request({"op": "ping"}, 60) == {"id": 1, "result": {}}

    def test_a_profile_that_ends_the_shell_is_shown(self, ssh_server):
        (ssh_server.home / ".bashrc").write_text("echo maintenance tonight; exit 3")
        with pytest.raises(DeviceUnfit, match=r"status 3\); its shell says b'maintenance tonight"):
            connect(ssh_server)

    def test_a_profile_that_waits_for_an_answer_keeps_nobody_waiting(self, ssh_server, monkeypatch):
        (ssh_server.home / ".bashrc").write_text("sleep 60 & wait")
        monkeypatch.setattr(transport, "CONNECT_S", 1.5)
        with pytest.raises(DeviceLost, match=r"silent for 1\.5 s"):
            connect(ssh_server)


@pytest.mark.usefixtures("ssh_entry")
class TestLoss:
    @pytest.fixture
    def supervisor(self, ssh_server):
        """A pipe, and the process at its other end."""
        with connect(ssh_server) as pipe:
            hold = {"op": "hold", "folder": "f", "limit_bytes": 1, "lease_s": 60, "patience_s": 0}
            pipe.request({**hold, "owner": {"token": "t", "name": "n"}}, 60)
            lock = json.loads((ssh_server.home / "f/lock").read_text())
            yield pipe, psutil.Process(lock["supervisor"])

    def test_a_connection_that_breaks_is_missed_at_once(self, supervisor):
        pipe, process = supervisor
        next(parent for parent in process.parents() if parent.name().startswith("sshd")).kill()
        with pytest.raises(DeviceLost):
            pipe.request({"op": "ping"}, 60)

    def test_a_frozen_device_is_missed_by_its_heartbeat(self, supervisor, monkeypatch):
        pipe, process = supervisor
        monkeypatch.setattr("agents.remote.pipe.SILENCE_S", 1.0)
        process.suspend()
        try:
            with pytest.raises(DeviceLost, match="is silent for 1 s"):
                pipe.request({"op": "ping"}, 60)
        finally:
            process.kill()

    def test_closing_ends_the_process_on_the_device(self, supervisor):
        pipe, process = supervisor
        pipe.close()
        psutil.wait_procs([process], timeout=10)
        assert not process.is_running()
        pipe.close()
