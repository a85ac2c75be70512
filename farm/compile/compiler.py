"""TVM, in a child process that may die: the client of `python -m farm.compile`."""

from __future__ import annotations

import atexit
import base64
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from agents.pipes import LocalPipe
from farm.compile.deaths import Watched
from farm.compile.groups import Group, Operation, Schedule
from farm.compile.listing import Listing
from farm.compile.target import canonical
from farm.core.errors import (
    BuildError,
    CompilerLost,
    DeviceLost,
    FarmError,
    MeasureTimeout,
    StoreFull,
    TargetError,
)
from farm.core.values import Target

_TIMEOUT_S = 300.0
"""For one request; the largest kernels take seconds, the worker's start some more."""

_ERRORS: Mapping[str, type[FarmError]] = {
    "build": BuildError,
    "full": StoreFull,
    "target": TargetError,
}
"""By the worker's kinds."""


@dataclass(frozen=True)
class TargetFacts:
    """triple: such as `x86_64-linux-gnu`. runs_here: whether this host has the architecture."""

    triple: str
    runs_here: bool


class Compiler:
    """One worker, started when it is first needed and again after it died."""

    def __init__(self) -> None:
        self._pipe: LocalPipe | None = None
        self._targets: dict[str, TargetFacts] = {}

    @property
    def pid(self) -> int | None:
        return None if self._pipe is None else self._pipe.pid

    def target(self, target: Target) -> TargetFacts:
        """Raises TargetError."""
        name = canonical(target)
        if name not in self._targets:
            facts = self._request(f"checking the target {name}", op="target", target=target)
            self._targets[name] = TargetFacts(**facts)
        return self._targets[name]

    def kernel(self, kernel: Group | Operation, key: str, target: Target, cache: Path) -> None:
        """Makes sure that the cache has a kernel. Raises BuildError, CompilerLost, StoreFull."""
        self._request(
            f"building the kernel {kernel.name}",
            op="kernel",
            kernel=kernel.to_json(),
            key=key,
            target=target,
            cache=str(cache),
        )

    def schedules(self, group: Group, target: Target) -> tuple[Schedule, ...]:
        """Ways to write a kernel, the rule's first; none where there is one way. TargetError."""
        doing = f"looking for schedules of {group.name}"
        reply = self._request(doing, op="schedules", kernel=group.to_json(), target=target)
        return tuple(Schedule(**schedule) for schedule in reply["schedules"])

    def program(self, listing: Listing) -> bytes:
        """The program for TVM's virtual machine."""
        reply = self._request("writing a program", op="program", listing=listing.to_json())
        return base64.b64decode(reply["program"])

    def close(self) -> None:
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None

    def _argv(self) -> list[str]:
        return [sys.executable, "-m", "farm.compile"]

    def _request(self, doing: str, **message: Any) -> dict[str, Any]:
        if self._pipe is None:
            self._pipe = LocalPipe(self._argv())
        watched = Watched()
        try:
            reply = self._pipe.request(message, _TIMEOUT_S)
        except (DeviceLost, MeasureTimeout) as error:
            killed = watched.by_somebody(self._pipe.returncode)
            self.close()
            raise CompilerLost(f"the compiler died {doing}: {error}", killed) from error
        if "error" in reply:
            kind, text = reply["error"]["kind"], reply["error"]["message"]
            raise _ERRORS[kind](text if kind == "target" else f"{doing}: {text}")
        result: dict[str, Any] = reply["result"]
        return result


@cache
def compiler() -> Compiler:
    """The compiler of this process."""
    made = Compiler()
    atexit.register(made.close)
    return made


def process_cpu_s(pid: int | None) -> float:
    """CPU seconds of a process of this host and of its ended children; 0 where there is none."""
    if pid is None:
        return 0.0
    # proc(5): utime, stime, cutime, cstime are fields 14 to 17; the name before may hold spaces.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
