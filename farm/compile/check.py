"""Runs a fresh library once, in a process of its own, and compares with onnxruntime's output."""

from __future__ import annotations

import atexit
import math
import sys
import tempfile
from functools import cache
from pathlib import Path

from agents.pipes import RUNNER, LocalPipe, Pipe
from agents.runtime.bundle import host_bundle
from farm.core.errors import BuildError, DeviceLost
from farm.core.values import Program

_TIMEOUT_S = 120.0


def check(library: bytes, program: Program) -> None:
    """Raises BuildError for a library that crashes, hangs, or computes another network.

    library: a shared library that this host can run.
    """
    with tempfile.NamedTemporaryFile(suffix=".so") as file:
        file.write(library)
        file.flush()
        try:
            found = output(Path(file.name), program, _runner())
        except DeviceLost as error:
            _runner.cache_clear()
            raise BuildError(f"the runner that checks libraries died: {error}") from error
        _compare(found, program)


def output(library: Path, program: Program, runner: Pipe) -> list[float]:
    """The first values of what a library computes on `runner`; raises BuildError, DeviceLost."""
    request = {
        "op": "run",
        "networks": [{"library": str(library), "program": program.to_json()}],
        "threads": 1,
        "cores": [],
        "seed": program.seed,
        "timeout_s": _TIMEOUT_S,
    }
    reply = runner.request(request, timeout_s=_TIMEOUT_S + 10)
    if "error" in reply:
        raise BuildError(f"the compiled network does not run: {reply['error']['message']}")
    return [float(value) for value in reply["result"]["networks"][0]["output"]]


def pid() -> int | None:
    """The runner's process, if there is one."""
    return _runner().pid if _runner.cache_info().currsize else None


def _compare(output: list[float], program: Program) -> None:
    pairs = list(zip(output, program.expected, strict=True))
    if not all(math.isfinite(value) for value in output):
        raise BuildError("the compiled network computes NaN or infinity")
    deviation = max(abs(value - expected) for value, expected in pairs)
    if deviation > program.tolerance:
        raise BuildError(
            f"the compiled network differs from onnxruntime by {deviation:g} in its first "
            f"{len(pairs)} values; {program.tolerance:g} is allowed"
        )


@cache
def _runner() -> LocalPipe:
    """One runner for all checks of this process: each takes a forked child and 10 ms."""
    argv = [sys.executable, "-I", "-S", str(RUNNER), "--runtime", str(host_bundle())]
    runner = LocalPipe(argv)
    atexit.register(runner.close)
    return runner
