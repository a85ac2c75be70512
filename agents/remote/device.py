"""A device over SSH as the farm holds it: reached again after a loss, its folder kept filled."""

from __future__ import annotations

import getpass
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

from pydantic import Field, field_validator

from agents.answers import PROBED, Probed, fitting
from agents.cpu import CpuOptions
from agents.pipes import result_of
from agents.remote import upload
from agents.remote.pipe import SshPipe
from agents.remote.reconnection import RECONNECT_S, patiently
from agents.remote.transport import Address, HostKey
from agents.remote.upload import Payload
from agents.runtime.bundle import bundle
from farm.core.errors import DeviceUnfit
from farm.core.hosts import host_name

LEASE_S = 60.0
"""The supervisor frees its device when it hears nothing for so long; pings come every 2 s."""

CLOCK_S = 3600.0
"""How far a device's clock may be off; its folder forgets by the dates of its files."""

_PATIENCE_S = 5.0
"""For whoever held the device until now to let go of it."""

FIRST_S = 2.0
"""How long a device is tried that was never reached: its link may break while it is set up."""

_REQUEST_S = 60.0
"""For the supervisor; unpacking a runtime on a slow card takes longest."""

_MACHINES = ("aarch64", "x86_64")


class SshOptions(CpuOptions):
    """host: USER@HOST or USER@HOST:PORT; key: file of the private key that logs in there;
    host_key: the only one that is taken, as `farm device add` pins it; python: the device's;
    folder: what the farm keeps there, in the home folder unless absolute; cache_bytes: what may
    stay in it."""

    host: str
    key: str
    host_key: str
    python: str = Field("python3", pattern=r"^[\w./-]+$")
    folder: str = Field(".latency-farm", min_length=1)
    cache_bytes: int = Field(256 * 1024**2, ge=64 * 1024**2)

    @field_validator("host")
    @classmethod
    def _is_address(cls, text: str) -> str:
        Address.parse(text)
        return text

    @field_validator("host_key")
    @classmethod
    def _is_host_key(cls, text: str) -> str:
        HostKey.parse(text)
        return text


class SshDevice:
    """One connection at a time, with a runner at its other end. For one thread at a time."""

    def __init__(
        self,
        reach: Callable[[], SshOptions],
        patience_s: float = FIRST_S,
        beat_s: float | None = None,
        slack: float = 1.0,
    ) -> None:
        """reach: makes sure that the device is on, and says how to reach it.

        patience_s: how long the device is waited for the first time. beat_s, slack: as in
        `SshPipe`. was_empty: whether the farm kept nothing on the device when it was first reached.
        """
        self._reach = reach
        self._patience_s = patience_s
        self._beat_s = beat_s
        self._slack = slack
        self._token = uuid4().hex
        self._pipe: SshPipe | None = None
        self._was_there = False
        self.was_empty = False
        self.bundle = Path()

    def pipe(self) -> SshPipe:
        """The way to the runner. Raises DeviceLost and DeviceUnfit.

        Where it was lost, the device is reached again, patiently, as it may be booting.
        """
        if self._pipe is None:
            patience_s = RECONNECT_S if self._was_there else self._patience_s
            self._pipe = patiently(self._connected, patience_s)
            self._was_there = True
        return self._pipe

    def probe(self) -> Probed:
        """What the supervisor sees of the device; writes nothing there. Raises as `pipe`."""
        options = self._reach()
        with self._open(options) as pipe:
            return self._probed(pipe, options)

    def keep(self, library: bytes) -> str:
        """The path of a compiled network on the device, sent there unless it has it."""
        return upload.send(self.pipe(), upload.library(library))

    def close(self) -> None:
        """Gives the device free. It is reached again when it is asked for."""
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None

    def purge(self) -> None:
        """Deletes the farm's folder on the device."""
        self.close()
        options = self._reach()
        with self._open(options) as pipe:
            if self._probed(pipe, options)["folder_is_there"]:
                self._hold(pipe, options)
                self._ask(pipe, "purge")

    def _connected(self) -> SshPipe:
        options = self._reach()
        pipe = self._open(options)
        try:
            seen = self._probed(pipe, options)
            must_fit(seen, time.time(), options.host)
            self.was_empty |= not self._was_there and not seen["folder_is_there"]
            self.bundle = bundle(seen["uname"][4], seen["python"].rpartition(".")[0])
            self._hold(pipe, options)
            self._start(pipe, upload.runner(), upload.runtime(self.bundle))
        except BaseException:
            pipe.close()
            raise
        return pipe

    def _open(self, options: SshOptions) -> SshPipe:
        address, pinned = Address.parse(options.host), HostKey.parse(options.host_key)
        key = Path(options.key).expanduser()
        return SshPipe(address, key, pinned, options.python, self._beat_s, self._slack)

    def _probed(self, pipe: SshPipe, options: SshOptions) -> Probed:
        return fitting(PROBED, self._ask(pipe, "probe", folder=options.folder), options.host)

    def _hold(self, pipe: SshPipe, options: SshOptions) -> None:
        owner = {"token": self._token, "name": f"{getpass.getuser()}@{host_name()}"}
        self._ask(
            pipe,
            "hold",
            folder=options.folder,
            owner=owner,
            limit_bytes=options.cache_bytes,
            lease_s=LEASE_S,
            patience_s=_PATIENCE_S,
        )

    def _start(self, pipe: SshPipe, runner: Payload, runtime: Payload) -> None:
        folders = [upload.send(pipe, payload) for payload in (runtime, runner)]
        self._ask(pipe, "start", runtime=folders[0], runner=f"{folders[1]}/runner.py")

    def _ask(self, pipe: SshPipe, op: str, **message: Any) -> dict[str, Any]:
        return result_of(pipe.request({"op": op, **message}, self._slack * _REQUEST_S))


def must_fit(seen: Probed, now_s: float, host: str) -> None:
    """Raises DeviceUnfit for a device that cannot run networks, and says what to do.

    seen: what the supervisor's probe says. now_s: our clock.
    """
    system, machine = seen["uname"][0], seen["uname"][4]
    if system != "Linux" or machine not in _MACHINES:
        raise DeviceUnfit(
            f"{host} is {system} on {machine}; 64-bit Linux on {' or '.join(_MACHINES)} is needed: "
            "on a Raspberry Pi 3 or later, install Raspberry Pi OS (64-bit)"
        )
    if seen["pointer_bits"] != 64:
        raise DeviceUnfit(
            f"{host} has a {seen['pointer_bits']}-bit Python on a kernel for {machine}; TVM needs "
            "64-bit programs: install Raspberry Pi OS (64-bit), or name a 64-bit one with `python:`"
        )
    if seen["noexec"]:
        raise DeviceUnfit(
            f"{seen['folder']} on {host} is on a disk that runs no programs (noexec); name a "
            "folder on another disk with `folder:`"
        )
    off_s = seen["clock_s"] - now_s
    if abs(off_s) > CLOCK_S:
        way = "ahead" if off_s > 0 else "behind"
        raise DeviceUnfit(
            f"the clock of {host} is {abs(off_s) / 3600:.1f} h {way}; set it, for example with "
            "'sudo timedatectl set-ntp true'"
        )
