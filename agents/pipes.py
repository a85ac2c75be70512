"""How a runner is reached: JSON lines with request ids, and a deadline on everything."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import PIPE, Popen, TimeoutExpired
from typing import Any, Protocol, Self

from agents.answers import TOLD, fitting
from agents.runtime.bundle import host_bundle
from farm.core.errors import (
    BadArtifact,
    DeviceBusy,
    DeviceError,
    DeviceLost,
    DeviceUnfit,
    MeasureTimeout,
    NetworkCrashed,
    WrongOutput,
)

_CHUNK_BYTES = 1 << 16
ERRORS_BYTES, SAID = 2000, 300
"""How much of the end of stderr is kept, and how many characters of a line go into a message."""

_END_S = 2.0
"""How long a runner has to end by itself; it has nothing to do but to leave its loop."""


RUNNER = Path(__file__).parent / "on_device" / "runner.py"

DEVICE_FILES = (
    RUNNER,
    *(RUNNER.with_name(name) for name in ("timing.py", "core.py", "loading.py", "nvidia.py")),
)
"""What goes to a device beside the slim runtime; the runner finds the others in its own folder."""

RUNNER_ERRORS: Mapping[str, type[DeviceError]] = {
    "artifact": BadArtifact,
    "bad_request": DeviceError,
    "busy": DeviceBusy,
    "crash": NetworkCrashed,
    "timeout": MeasureTimeout,
    "unfit": DeviceUnfit,
    "wrong_output": WrongOutput,
}
"""What the kinds of errors of the runner, and of the supervisor, are here."""


class Pipe(Protocol):
    """A runner, wherever it is."""

    def request(self, message: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """The reply to `message`, whose `id` the pipe sets; see `result_of`.

        timeout_s: some more than the runner itself has for it. Raises DeviceLost where the runner
        is gone, or silent for so long.
        """

    def close(self) -> None:
        """Ends the runner, whatever state it is in. Closing again does nothing."""


LONGEST_BYTES = 1 << 26
"""Of one reply: a session of 50 networks has less than a megabyte."""


class Replies:
    """Puts chunks of bytes together to replies, and finds the one that is waited for."""

    def __init__(self) -> None:
        self._lines: deque[bytes] = deque()
        self._unread = bytearray()

    def feed(self, chunk: bytes) -> None:
        first, *rest = chunk.split(b"\n")
        self._unread += first
        for part in rest:
            self._lines.append(bytes(self._unread))
            self._unread = bytearray(part)

    def find(self, number: int) -> dict[str, Any] | None:
        """The reply with this id; late replies to earlier requests are dropped on the way.

        Raises DeviceLost for a line that is no reply, or has no end: whoever wrote it is not our
        runner.
        """
        while self._lines:
            reply = _parsed(self._lines.popleft())
            if type(reply.get("id")) is int and reply["id"] == number:
                return reply
        if len(self._unread) > LONGEST_BYTES:
            raise DeviceLost(f"the runner's answer has more than {LONGEST_BYTES} bytes")
        return None


def result_of(reply: Mapping[str, Any]) -> dict[str, Any]:
    """The result in a reply. Raises the DeviceError that stands there instead."""
    result = reply.get("result")
    if isinstance(result, dict):
        return result
    said = fitting(TOLD, reply.get("error"), "the runner")
    error = RUNNER_ERRORS.get(said["kind"], DeviceError)(said["message"])
    error.network = said.get("network")
    raise error


def _parsed(line: bytes) -> dict[str, Any]:
    with contextlib.suppress(ValueError, RecursionError):
        reply = json.loads(line)
        if isinstance(reply, dict):
            return reply
    raise DeviceLost(f"the runner must answer with JSON objects, got {line[:80]!r}")


def local_runner(accelerator: str = "") -> LocalPipe:
    """A runner on this computer. accelerator: as in `host_bundle`, which may raise DeviceUnfit."""
    python = [sys.executable, "-I", "-S"]
    return LocalPipe([*python, str(RUNNER), "--runtime", str(host_bundle(accelerator))])


class LocalPipe:
    """A runner as a child process, in a session of its own. For one thread at a time."""

    def __init__(self, argv: Sequence[str]) -> None:
        """Starts `argv`. Raises DeviceLost where there is no such program."""
        try:
            self._process = Popen(
                argv, stdin=PIPE, stdout=PIPE, stderr=PIPE, start_new_session=True, bufsize=0
            )
        except OSError as e:
            raise DeviceLost(f"cannot start the runner {argv[0]!r}: {e.strerror}") from e
        self._stdin, self._stdout, self._stderr = _nonblocking(self._process)
        self._readers = {self._stdout: self._receive, self._stderr: self._receive_errors}
        self._number = 0
        self._unsent = b""
        self._replies = Replies()
        self._errors = b""

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """How the runner ended, as `subprocess.Popen` says it; None while it lives."""
        return self._process.poll()

    def request(self, message: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """See `Pipe.request`."""
        deadline_s = time.monotonic() + timeout_s
        self._number += 1
        self._unsent += json.dumps({**message, "id": self._number}).encode() + b"\n"
        while (reply := self._replies.find(self._number)) is None:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                raise DeviceLost(f"the runner is silent for {timeout_s:g} s")
            self._exchange(left_s)
        return reply

    def _exchange(self, timeout_s: float) -> None:
        """Sends and receives what can be; waits for that at most `timeout_s`."""
        with selectors.DefaultSelector() as selector:
            for descriptor, reader in self._readers.items():
                selector.register(descriptor, selectors.EVENT_READ, reader)
            if self._unsent:
                selector.register(self._stdin, selectors.EVENT_WRITE, self._send)
            for key, _ in selector.select(timeout_s):
                key.data()

    def _send(self) -> None:
        try:
            self._unsent = self._unsent[os.write(self._stdin, self._unsent) :]
        except BrokenPipeError as e:
            raise self._lost() from e

    def _receive(self) -> None:
        chunk = os.read(self._stdout, _CHUNK_BYTES)
        if not chunk:
            raise self._lost()
        self._replies.feed(chunk)

    def _receive_errors(self) -> None:
        chunk = os.read(self._stderr, _CHUNK_BYTES)
        self._errors = (self._errors + chunk)[-ERRORS_BYTES:]
        if not chunk:
            del self._readers[self._stderr]

    def _lost(self) -> DeviceLost:
        """Says how the runner ended, and the last that it wrote to stderr."""
        with contextlib.suppress(TimeoutExpired):
            self._process.wait(_END_S)
        with contextlib.suppress(BlockingIOError, KeyError):
            while self._stderr in self._readers:
                self._receive_errors()
        last = self._errors.decode(errors="replace").strip().rpartition("\n")[2][-SAID:]
        return DeviceLost(f"the runner ended with {self._process.returncode}: {last or 'silent'}")

    def close(self) -> None:
        """See `Pipe.close`: by the end of its stdin, and by force where that does not do."""
        streams = (self._process.stdin, self._process.stdout, self._process.stderr)
        for stream in filter(None, streams):
            stream.close()
        try:
            self._process.wait(_END_S)
        except TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _nonblocking(process: Popen[bytes]) -> tuple[int, int, int]:
    """The descriptors of a process's three pipes, made so that no read or write ever waits."""
    streams = (process.stdin, process.stdout, process.stderr)
    stdin, stdout, stderr = (stream.fileno() for stream in streams if stream)
    for descriptor in (stdin, stdout, stderr):
        os.set_blocking(descriptor, False)
    return stdin, stdout, stderr
