"""Does the demo end well on a busy computer?

    python -m benchmarks.busy_demo --runs 20 --seed 0 [--json]

Runs `farm demo` (what `make demo` does once everything is installed) so many times, each in an
empty folder of its own and beside a neighbour that comes and goes at random: spells of seconds in
which it computes and copies memory in bursts, and spells without. Then the same again in the same
folder, which shows what is there.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import report
from benchmarks.neighbours import Burster, beside

ROOT = Path(__file__).parents[1]

TIMEOUT_S = 900.0
"""A demo that takes longer is lost."""

_FARM = (sys.executable, "-c", "from farm.cli import main; main()")
_SPELL_S = (1.0, 20.0)
_REST_S = (0.0, 0.3)


def _come_and_go(seed: int) -> None:
    """Spells of bursts, and spells without."""
    burster = Burster(seed)
    busy = burster.rng.random() < 0.5
    while burster.wanted:
        end_s = time.monotonic() + burster.rng.uniform(*_SPELL_S)
        while time.monotonic() < end_s:
            if busy:
                burster.burst()
            time.sleep(burster.rng.uniform(*_REST_S))
        busy = not busy


def demo(store: Path) -> tuple[int | None, float, dict[str, Any]]:
    """One demo: its exit code (None for one that was lost), seconds, and what it says."""
    started_s = time.monotonic()
    command = [*_FARM, "demo", "--store", str(store), "--json"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            out, _ = process.communicate(timeout=TIMEOUT_S)
            code: int | None = process.returncode
        except subprocess.TimeoutExpired:
            process.terminate()
            out, code = "", None
    said = json.loads(out) if out.strip() else {}
    return code, time.monotonic() - started_s, said


def row(run: int, seed: int) -> dict[str, Any]:
    """A run and its repetition."""
    with TemporaryDirectory() as folder, beside(_come_and_go, 1, seed):
        store = Path(folder) / "demo-out"
        code, seconds, said = demo(store)
        again, again_s, _ = demo(store)
    return {
        "run": run,
        "exit": code,
        "seconds": seconds,
        "again_exit": again,
        "again_s": again_s,
        **told(said),
    }


def told(said: Mapping[str, Any]) -> dict[str, Any]:
    """Of a summary what the table shows."""
    devices = said.get("devices", {})
    verdicts = sum((Counter(d["verdicts"]) for d in devices.values()), Counter[str]())
    return {
        "measured": said.get("measured"),
        "verdicts": ", ".join(f"{n} {verdict}" for verdict, n in sorted(verdicts.items())),
        **{f"spearman {name}": device["spearman"] for name, device in devices.items()},
    }


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """exit_0: how many runs, with their repetition, ended with that code."""
    seconds = [row["seconds"] for row in rows]
    return {
        "runs": len(rows),
        "exit_0": sum(row["exit"] == 0 and row["again_exit"] == 0 for row in rows),
        "longest_s": max(seconds),
        "median_s": median(seconds),
        "again_longest_s": max(row["again_s"] for row in rows),
    }


def main(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.busy_demo", description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the neighbours")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(argv)
    rows = []
    for run in range(given.runs):
        rows.append(row(run, given.seed + run))
        print(f"run {run + 1}: {rows[-1]}", file=sys.stderr, flush=True)
    report.finish("busy_demo", rows, summary(rows), given.json)


if __name__ == "__main__":
    main(sys.argv[1:])
