"""How long devices wait for decisions: a campaign over many replay devices in real time.

    python -m benchmarks.idle --devices 30 --budget 40 --json

The devices take the columns of NAS-Bench-201's table in turn, and as long as their originals would.
Nothing is built, each has a host of its own, so a device that does not measure waits for what to
measure next.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import published
from benchmarks.report import finish
from farm import Launch
from farm.campaign import progress
from farm.campaign.progress import Progress
from farm.farm import Farm

BUDGET, HOLDOUT = 40, 8


class Watch:
    """Adds up how long devices were in each state, from one look at the campaign to the next.

    A device counts from when it began to measure, until it is done. clock: in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._doing: dict[str, str] = {}
        self._clock = clock
        self._at_s = clock()

    def __call__(self, found: Progress) -> None:
        now_s = self._clock()
        for state in self._doing.values():
            self.seconds[state] += now_s - self._at_s
        self._at_s = now_s
        for name, device in found.devices.items():
            if name in self._doing or device.doing == progress.MEASURING:
                self._doing[name] = device.doing

    @property
    def idle_fraction(self) -> float:
        """Of the time of devices, how much they waited."""
        waited = self.seconds[progress.WAITING]
        return waited / (waited + self.seconds[progress.MEASURING])


def run(devices: int, budget: int, seed: int, speed_up: float = 1.0) -> Watch:
    """One campaign with the executor that `farm launch` takes."""
    columns = published.load(published.folder() / "nb201.npz").devices
    lines = [
        f"  d{i}: {{kind: replay, column: {columns[i % len(columns)]}, seed: {i}, "
        f"speed_up: {speed_up}}}"
        for i in range(devices)
    ]
    with tempfile.TemporaryDirectory() as folder:
        cluster = Path(folder) / "cluster.yaml"
        cluster.write_text(
            "\n".join(["store: results", "controls: {every: 0}", "devices:", *lines])
        )
        names = [f"d{i}" for i in range(devices)]
        asked = Launch(space="nb201", devices=names, budget=budget, holdout=HOLDOUT, seed=seed)
        watch = Watch()
        Farm.open(cluster).launch(asked, "ray", watch)
    return watch


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser("python -m benchmarks.idle", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("--devices", type=int, default=30, help="replay devices (30)")
    add("--budget", type=int, default=BUDGET, help=f"networks of each ({BUDGET})")
    add("--seed", type=int, default=0)
    add("--json", action="store_true", help="one JSON object on stdout")
    options = parser.parse_args(arguments)
    watch = run(options.devices, options.budget, options.seed)
    row: dict[str, Any] = {"devices": options.devices, "budget": options.budget}
    row |= {f"{state}_s": seconds for state, seconds in sorted(watch.seconds.items())}
    finish("idle", [row], {"idle_fraction": watch.idle_fraction}, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
