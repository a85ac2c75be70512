"""A real SSH server on this computer: its own keys, its own port, a home folder of its own."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from agents.remote.transport import Address, HostKey, host_keys
from tests.system import need

_CONFIG = """\
Port {port}
ListenAddress {host}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/key.pub
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
SetEnv HOME={folder}/home PATH={path}
"""


@dataclass(frozen=True)
class Sshd:
    """address: of a login with `key`, a file, to the folder `home`."""

    address: Address
    key: Path
    home: Path
    host_key: HostKey
    process: subprocess.Popen[bytes]

    def stop(self) -> None:
        """Ends the server, and the connections to it."""
        server = psutil.Process(self.process.pid)
        for process in [server, *server.children()]:
            process.kill()
        self.process.wait()


@contextmanager
def sshd(
    folder: Path,
    port: int | None = None,
    host: str = "127.0.0.1",
    inside: Sequence[str] = (),
) -> Iterator[Sshd]:
    """Runs in a folder that is empty, or was a server's before.

    port: to listen on; a free one if it is left out. host: its address. inside: the start of a
    command that runs it somewhere else, such as in a network namespace.
    """
    need(sshd="openssh-server", ssh_keygen="openssh-client")
    if not (folder / "home").exists():
        (folder / "home").mkdir()
        for name in ("key", "host_key"):
            keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
            subprocess.run(keygen, check=True)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd insists, though nothing is kept there
    port = port or _free_port()
    config = folder / "sshd_config"
    config.write_text(_CONFIG.format(port=port, host=host, folder=folder, path=os.environ["PATH"]))
    program = shutil.which("sshd") or "/usr/sbin/sshd"
    command = [*inside, program, "-D", "-e", "-f", str(config)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        address = Address(getpass.getuser(), host, port)
        yield Sshd(address, folder / "key", folder / "home", _host_key(address), process)
    finally:
        process.terminate()
        process.wait()


def _host_key(address: Address) -> HostKey:
    """The server's key, once it listens."""
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex((address.host, address.port)) == 0:
                return host_keys(address)[0]
        time.sleep(0.05)
    raise AssertionError(f"sshd does not listen on port {address.port}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
