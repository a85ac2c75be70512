"""Networks timed through TVM's own RPC tracker and server: the peer of `throughput`.

A tracker and a server are processes of their own on loopback, as `python -m tvm.exec.rpc_tracker`
and `python -m tvm.exec.rpc_server` start them. Each network takes a session of the tracker's: the
library is uploaded, loaded, and evaluated by `time_evaluator`, as TVM's tutorial on cross
compilation and RPC does it.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

HOST, KEY = "127.0.0.1", "cpu"
START_S, SESSION_S = 120.0, 60.0


@dataclass(frozen=True)
class Library:
    """A compiled network, and the shapes of its inputs."""

    path: Path
    shapes: Sequence[Sequence[int]]


@contextmanager
def tracker() -> Iterator[Any]:
    """A tracker with one server, as a client's session with it."""
    from tvm import rpc

    at, server_at = _free_ports(2)
    processes: list[subprocess.Popen[bytes]] = []
    try:
        processes.append(_started("rpc_tracker", at))
        _wait_for(at, processes)
        processes.append(
            _started("rpc_server", server_at, "--key", KEY, "--tracker", f"{HOST}:{at}")
        )
        _wait_for(server_at, processes)
        yield rpc.connect_tracker(HOST, at)
    finally:
        for process in reversed(processes):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def timed(session: Any, library: Library, **how: int) -> tuple[float, float]:
    """The median of one evaluation's results, and for how long the device was held, seconds.

    how: arguments of `time_evaluator`.
    """
    began_s = time.monotonic()
    latency_s = _timed(session.request(KEY, session_timeout=SESSION_S), library, how)
    gc.collect()  # the session ends with the last tensor of it
    return latency_s, time.monotonic() - began_s


def _timed(remote: Any, library: Library, how: dict[str, int]) -> float:
    import tvm
    from tvm import relax

    remote.upload(str(library.path))
    device = remote.cpu()
    machine = relax.VirtualMachine(remote.load_module(library.path.name), device)
    rng = np.random.default_rng(0)
    arguments = [
        tvm.runtime.tensor(rng.uniform(-0.1, 0.1, shape).astype("float32"), device)
        for shape in library.shapes
    ]
    found = machine.time_evaluator("main", device, **how)(*arguments)
    return float(median(found.results))


def _started(module: str, port: int, *words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", f"tvm.exec.{module}", "--host", HOST, "--silent"]
    return subprocess.Popen(
        [*command, "--port", f"{port}", "--port-end", f"{port + 1}", *words],
        env={**os.environ, "TVM_NUM_THREADS": "1", "TVM_BIND_THREADS": "0"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server((HOST, 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _wait_for(port: int, processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Until somebody listens there. Raises RuntimeError where it has ended, or takes too long."""
    until_s = time.monotonic() + START_S
    while time.monotonic() < until_s and all(one.poll() is None for one in processes):
        try:
            socket.create_connection((HOST, port)).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.1)
    raise RuntimeError("TVM's tracker or server does not start; `pip install tornado`?")
