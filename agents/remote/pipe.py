"""A device over SSH: one connection, a supervisor at its other end, a deadline on everything.

A link that was cut and a computer that froze show no error. So a thread sends a ping every other
second, and takes the device for lost when nothing comes back for `SILENCE_S`.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from agents.pipes import ERRORS_BYTES, SAID, Replies
from agents.remote.transport import Address, HostKey, connected, in_time, log_in
from farm.core.errors import DeviceLost, DeviceUnfit

if TYPE_CHECKING:
    from paramiko import Transport

BEAT_S = 2.0
SILENCE_S = 30.0
"""A host that computes on all cores, or swaps, still answers sooner."""

_CHUNK_BYTES = 1 << 16
_NOISE_BYTES = 1 << 16
"""What a login shell may say before the supervisor does."""

_END_S = 2.0
_NO_COMMAND = 127
"""What a shell says of a command that it does not find."""

_SUPERVISOR = Path(__file__).parents[1] / "on_device" / "supervisor.py"

_BOOT = (
    "{python} -I -S -c 'import sys;v=sys.version_info;"
    'v<(3,9) and sys.exit("Python 3.9 or later is needed, this is %d.%d" % v[:2]);'
    "exec(sys.stdin.buffer.read({size}))' {word}"
)
"""Starts the supervisor from its text on stdin; every login shell understands it."""


class SshPipe:
    """A supervisor on a device, and a runner once there is one: `agents.pipes.Pipe`."""

    def __init__(
        self,
        address: Address,
        key: Path,
        pinned: HostKey,
        python: str,
        beat_s: float | None = None,
        slack: float = 1.0,
    ) -> None:
        """Connects, logs in, and starts the supervisor. Raises DeviceLost and DeviceUnfit.

        pinned: the only host key that is taken. python: the device's, such as `python3`.
        beat_s: between two pings, instead of `BEAT_S`. slack: how many times as long as another
        computer it may be silent.
        """
        self._address = address
        self._beat_s = beat_s or BEAT_S
        self._slack = slack
        self._number = 0
        self._replies = Replies()
        self._news = threading.Condition()
        self._sending = threading.Lock()
        self._closing = threading.Event()
        self._lost: DeviceLost | None = None
        self._errors = b""
        self._heard_s = self._beaten_s = time.monotonic()
        with ExitStack() as stack:
            transport = stack.enter_context(connected(address, pinned.type, slack))
            _check(transport, pinned, address)
            with in_time(transport, address, slack):
                log_in(transport, address, key)
                self._channel = transport.open_session()
                self._boot(python)
            self._stack = stack.pop_all()
        self._heard_s = self._beaten_s = time.monotonic()
        self._channel.settimeout(self._beat_s)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _boot(self, python: str) -> None:
        """Starts the supervisor; what the login shell says before it is passed over."""
        text, word = _SUPERVISOR.read_bytes(), secrets.token_hex(8)
        self._channel.exec_command(_BOOT.format(python=python, size=len(text), word=word))
        with suppress(OSError):  # of a shell that has ended already; why is read below
            self._channel.sendall(text)
        said, mark = b"", f"supervisor {word}\n".encode()
        while (end := said.find(mark)) < 0:
            chunk = self._channel.recv(_CHUNK_BYTES)
            if not chunk or len(said) > _NOISE_BYTES:
                raise self._not_booted(python, said)
            said += chunk
        self._replies.feed(said[end + len(mark) :])

    def _not_booted(self, python: str, said: bytes) -> DeviceLost | DeviceUnfit:
        status, last = self._ending()
        if status is None and not said:
            return DeviceLost(f"{self._address} is lost while it starts {python}: {last}")
        if status == _NO_COMMAND:
            todo = "install Python 3.9 or later there, or name it with `python:`"
            return DeviceUnfit(f"{self._address} has no command {python!r}; {todo}")
        said = said or b"nothing"
        return DeviceUnfit(
            f"{self._address} does not run {python}: {last or 'no error'} (status {status}); "
            f"its shell says {said[:80]!r}"
        )

    def request(self, message: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """See `agents.pipes.Pipe.request`."""
        deadline_s = time.monotonic() + timeout_s
        self._number += 1
        self._send({**message, "id": self._number})
        with self._news:
            while (reply := self._replies.find(self._number)) is None:
                if self._lost is not None:
                    raise self._lost
                if (left_s := deadline_s - time.monotonic()) <= 0:
                    raise DeviceLost(f"{self._address} has no reply within {timeout_s:g} s")
                self._news.wait(left_s)
        return reply

    def _send(self, message: Mapping[str, Any]) -> None:
        from paramiko import SSHException

        try:
            with self._sending:
                self._channel.sendall(json.dumps(message).encode() + b"\n")
        except (OSError, EOFError, SSHException) as e:
            self._listener.join(_END_S)  # which knows better how it ended
            raise self._lost or DeviceLost(f"the link to {self._address} is stuck") from e

    def _listen(self) -> None:
        """Until the pipe is closed or the device is lost."""
        from paramiko import SSHException

        try:
            while not self._closing.is_set():
                self._hear()
                self._beat()
        except (DeviceLost, OSError, EOFError, SSHException) as e:
            lost = e if isinstance(e, DeviceLost) else DeviceLost(f"{self._address}: {e}")
            with self._news:
                self._lost = lost
                self._news.notify_all()

    def _hear(self) -> None:
        """Waits no longer than for a beat."""
        with suppress(TimeoutError):
            chunk = self._channel.recv(_CHUNK_BYTES)
            if not chunk:
                status, last = self._ending()
                reason = (
                    f"the supervisor on {self._address} ended with {status}: {last or 'silent'}"
                )
                raise DeviceLost(reason)
            self._heard_s = time.monotonic()
            with self._news:
                self._replies.feed(chunk)
                self._news.notify_all()
        self._read_errors()

    def _beat(self) -> None:
        now_s, silence_s = time.monotonic(), self._slack * SILENCE_S
        if now_s - self._heard_s > silence_s:
            raise DeviceLost(f"{self._address} is silent for {silence_s:g} s")
        if now_s - self._beaten_s >= self._beat_s and self._sending.acquire(blocking=False):
            self._beaten_s = now_s
            try:
                self._channel.sendall(b'{"id": 0, "op": "ping"}\n')
            finally:
                self._sending.release()

    def _read_errors(self) -> None:
        while self._channel.recv_stderr_ready():
            self._errors = (self._errors + self._channel.recv_stderr(_CHUNK_BYTES))[-ERRORS_BYTES:]

    def _ending(self) -> tuple[int | None, str]:
        """The status that the supervisor ended with, if any, and the last that was said of it."""
        self._channel.status_event.wait(_END_S)
        self._read_errors()
        lines = self._errors.decode(errors="replace").splitlines()[-2:]
        last = "; ".join(line[-SAID:] for line in lines)  # the end says why, and a message is cut
        status = self._channel.exit_status
        return (None, "the connection is cut") if status < 0 else (status, last)

    def close(self) -> None:
        """See `agents.pipes.Pipe.close`: the end of its stdin ends the supervisor."""
        if self._lost is None and not self._closing.is_set():
            with suppress(OSError, EOFError):
                self._channel.shutdown_write()
                self._channel.status_event.wait(_END_S)
        self._closing.set()
        self._stack.close()
        self._listener.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _check(transport: Transport, pinned: HostKey, address: Address) -> None:
    shown = HostKey.of(transport.get_remote_server_key())
    if shown != pinned:
        raise DeviceUnfit(
            f"the host key of {address.place} is {shown}, pinned is {pinned}: somebody may be in "
            "between; if it was changed on purpose, remove the device and add it again"
        )
