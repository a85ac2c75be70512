"""Two compile processes on one empty cache at once, one of them killed half-way, over and over.

    python -m benchmarks.killed_builds --rounds 20 --seed 0 [--json]

Both processes build the same random NAS-Bench-201 networks, in opposite orders. One is killed, by
SIGKILL, when a random number of kernels is in the cache. The other has to finish; after that every
artifact and kernel has to be whole, and every network has to compute what onnxruntime computes.

A round is `survived` if the second process ended well. `missing` and `wrong` count networks
without an intact artifact, and with one that computes something else; `torn` counts entries of
the cache of kernels that are not as they were written.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.networks import host_target, model_of, sample
from benchmarks.report import finish
from farm.compile import check
from farm.compile.artifacts import ArtifactStore
from farm.compile.build import build, build_key
from farm.compile.content_store import ContentStore
from farm.compile.kernel_cache import KernelCache
from farm.core.errors import BuildError

NETWORKS = 2
MOST_KERNELS = 15
"""Two random networks have 15 to 40 kernels, so that a builder is killed with work left."""

_DEADLINE_S = 300.0

Row = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> None:
    options = _options(argv)
    if options.build:
        root, *networks = options.build
        build_all(Path(root), networks)
        return
    rng = np.random.default_rng(options.seed)
    rows = []
    for number in range(options.rounds):
        networks = sample("nb201", NETWORKS, options.seed + number)
        with tempfile.TemporaryDirectory(prefix="farm-bench-") as folder:
            rows.append(one_round(Path(folder), networks, int(rng.integers(1, MOST_KERNELS))))
        print(f"round {number}: {rows[-1]}", file=sys.stderr, flush=True)
    finish("killed_builds", rows, summary(rows), options.json)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.killed_builds", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--rounds", type=int, default=20, help="rounds, of some 10 s each (20)")
    parser.add_argument("--seed", type=int, default=0, help="draws networks and moments (0)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--build", nargs="+", metavar="WORD", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def build_all(root: Path, networks: Sequence[str]) -> None:
    """What each of the two processes does."""
    store, kernels = ArtifactStore(root / "artifacts"), KernelCache(root / "kernels")
    for network in networks:
        build(model_of(network), host_target(), store, kernels)


def one_round(root: Path, networks: Sequence[str], kernels: int) -> Row:
    """kernels: how many are in the cache when one of the processes is killed."""
    victim, survivor = _start(root, networks), _start(root, networks[::-1])
    try:
        _wait_for_kernels(root / "kernels", kernels)
        killed = victim.poll() is None
        victim.send_signal(signal.SIGKILL)
        survivor.communicate(timeout=_DEADLINE_S)
    finally:
        for process in (victim, survivor):
            process.kill()
            process.wait()
    torn = _torn(root / "kernels")
    missing, wrong = _judge(root / "artifacts", networks)
    return {
        "networks": " ".join(networks),
        "kernels": kernels,
        "killed": killed,
        "survived": survivor.returncode == 0,
        "missing": missing,
        "wrong": wrong,
        "torn": torn,
    }


def _start(root: Path, networks: Sequence[str]) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "benchmarks.killed_builds", "--build", str(root), *networks]
    return subprocess.Popen(argv, start_new_session=True)


def _wait_for_kernels(folder: Path, count: int) -> None:
    deadline_s = time.monotonic() + _DEADLINE_S
    while len(list(folder.glob("??/*"))) < count:
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"fewer than {count} kernels within {_DEADLINE_S:g} s")
        time.sleep(0.01)


def _torn(folder: Path) -> int:
    store = ContentStore(folder)
    return sum(store.get(entry.key) is None for entry in store.sizes())


def _judge(folder: Path, networks: Sequence[str]) -> tuple[int, int]:
    """How many networks are without an intact artifact, and how many compute something else."""
    store = ArtifactStore(folder)
    found = [store.get(build_key(model_of(name), host_target())) for name in networks]
    intact = [artifact for artifact in found if artifact is not None]
    wrong = 0
    for artifact in intact:
        try:
            check.check(artifact.library.read_bytes(), artifact.program)
        except BuildError:
            wrong += 1
    return len(found) - len(intact), wrong


def summary(rows: Sequence[Row]) -> Row:
    return {
        "rounds": len(rows),
        "killed": sum(row["killed"] for row in rows),
        "unfinished": sum(not row["survived"] for row in rows),
        **{name: sum(row[name] for row in rows) for name in ("missing", "wrong", "torn")},
    }


if __name__ == "__main__":
    main()
