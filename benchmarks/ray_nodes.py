"""A Ray cluster of several nodes on this computer, as `ray start` starts it on several.

Each node but the head is on a host of its own by name (a UTS namespace, which takes root), and has
all its processes in one group.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

START_S = 120.0

QUICK = {
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "15",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "10",
}
"""A death is noticed within seconds."""


class Nodes:
    """The nodes of one cluster, the head first; a context manager that starts and kills them."""

    def __init__(
        self, folder: Path, devices: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        """folder: a short path for what Ray writes. devices: of each node, the one at it.
        environment: what the processes get beside this one's."""
        self._folder, self._devices = folder, devices
        quiet = {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONWARNINGS": "ignore"}
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16)}
        self.environment = {**os.environ, **QUICK, **quiet, **token, **environment}
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        with socket.create_server(("127.0.0.1", 0)) as found:
            self.port: int = found.getsockname()[1]

    def start(self, number: int) -> None:
        """Start a node; the head is waited for. Raises RuntimeError where it does not start."""
        command = [str(Path(sys.executable).with_name("ray")), "start", "--block", "--num-cpus=2"]
        command += ["--node-ip-address=127.0.0.1", "--object-store-memory=100000000"]
        command.append(f"--resources={json.dumps({f'device:{self._devices[number]}': 1})}")
        if number:
            command.append(f"--address=127.0.0.1:{self.port}")
            renamed = 'hostname "$0" && exec "$@"'
            command = ["unshare", "--uts", "sh", "-c", renamed, f"host{number}", *command]
        else:
            command += ["--head", f"--port={self.port}", f"--temp-dir={self._folder}"]
            command.append("--include-dashboard=false")
        self._running[number] = subprocess.Popen(
            command,
            env=self.environment,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        if not number:
            self._wait_for_the_head()

    def _wait_for_the_head(self) -> None:
        until_s = time.monotonic() + START_S
        while time.monotonic() < until_s and self._running[0].poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.2)
        raise RuntimeError(f"the head of a Ray cluster does not start within {START_S:.0f} s")

    def __enter__(self) -> Nodes:
        try:
            self.start_all()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.end()

    def start_all(self) -> None:
        """Start all of them."""
        for number in range(len(self._devices)):
            self.start(number)

    def restart_what_ended(self) -> None:
        """Start the nodes anew that have ended, as who runs a cluster does; without its head the
        others are of no use, and are started anew, too."""
        if self._ended(0):
            self.end()
            self.start_all()
        for number in range(1, len(self._devices)):
            if self._ended(number):
                self.kill(number)
                self.start(number)

    def _ended(self, number: int) -> bool:
        return self._running[number].poll() is not None

    def kill(self, number: int) -> None:
        """Kill all processes of a node."""
        node = self._running.pop(number)
        with suppress(ProcessLookupError):
            os.killpg(node.pid, signal.SIGKILL)
        node.wait()

    def end(self) -> None:
        """Kill all nodes."""
        for number in list(self._running):
            self.kill(number)
