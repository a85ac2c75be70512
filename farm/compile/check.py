"""Runs a fresh library once, in a process of its own, and compares with onnxruntime's output."""

from __future__ import annotations

import atexit
import hashlib
import math
import sys
import tempfile
from functools import cache
from pathlib import Path

from agents.pipes import RUNNER, LocalPipe, Pipe
from agents.runtime.bundle import host_bundle
from farm.compile.deaths import Watched
from farm.core.errors import BuildError, CompilerLost, DeviceLost
from farm.core.values import Program

_TIMEOUT_S = 120.0


def check(library: bytes, program: Program) -> None:
    """Raises BuildError for a library that crashes, hangs, or computes another network;
    CompilerLost where that cannot be said, as the runner died.

    library: a shared library that this host can run.
    """
    with tempfile.NamedTemporaryFile(suffix=".so") as file:
        file.write(library)
        file.flush()
        runner, watched = _runner(), Watched()
        try:
            found = outputs(Path(file.name), program, runner)
        except DeviceLost as error:
            _runner.cache_clear()
            killed, died = (
                watched.by_somebody(runner.returncode),
                "the runner that checks libraries",
            )
            raise CompilerLost(f"{died} died: {error}", killed) from error
        _compare(found, program)


def outputs(library: Path, program: Program, runner: Pipe) -> list[list[float]]:
    """The compared values of each output of a library on `runner`. BuildError, DeviceLost."""
    sha256 = hashlib.sha256(library.read_bytes()).hexdigest()
    network = {"library": str(library), "sha256": sha256, "program": program.to_json()}
    request = {
        "op": "run",
        "networks": [network],
        "threads": 1,
        "cores": [],
        "seed": program.seed,
        "timeout_s": _TIMEOUT_S,
    }
    reply = runner.request(request, timeout_s=_TIMEOUT_S + 10)
    if "error" in reply:
        raise BuildError(f"the compiled network does not run: {reply['error']['message']}")
    found: list[list[float]] = reply["result"]["networks"][0]["outputs"]
    return found


def pid() -> int | None:
    """The runner's process, if there is one."""
    return _runner().pid if _runner.cache_info().currsize else None


def _compare(found: list[list[float]], program: Program) -> None:
    for values, spec in zip(found, program.outputs, strict=True):
        if not all(math.isfinite(value) for value in values):
            raise BuildError("the compiled network computes NaN or infinity")
        pairs = list(zip(values, spec.expected, strict=True))
        deviation = max(abs(value - expected) for value, expected in pairs)
        if deviation > spec.tolerance:
            raise BuildError(
                f"the compiled network differs from onnxruntime by {deviation:g} in "
                f"{len(pairs)} of its values; {spec.tolerance:g} is allowed"
            )


@cache
def _runner() -> LocalPipe:
    """One runner for all checks of this process: each takes a forked child and 10 ms."""
    argv = [sys.executable, "-I", "-S", str(RUNNER), "--runtime", str(host_bundle())]
    runner = LocalPipe(argv)
    atexit.register(runner.close)
    return runner
