"""What is lost when anything dies? Campaigns whose processes are killed, and whose network fails.

    python -m benchmarks.faults --kills 200 --network-faults 100 --seed 0 [--nodes 3] --json

Campaigns run as a user's do, with `farm launch`. Where the driver has died the campaign is resumed;
where it is done the next one begins. At the end everything is counted.

Kills: over a real CPU device and two replay devices (`--devices` has the emulated Raspberry Pi,
too, once `farm device add emu-pi --kind qemu-pi` has built its guest), every few moments one
process is chosen, whichever kind it is of (the driver, Ray's own, actors, compilers, runners,
networks under test, a guest), and killed (SIGKILL), asked to end (SIGTERM) or stopped for a while
(SIGSTOP). `--executor inline` does without Ray; with `--nodes` Ray runs on so many computers
(`benchmarks/ray_nodes.py`), each with a device, and one whose processes died is started again, as
who runs a cluster does.

Network faults (`benchmarks/network_faults.py`): over an SSH device in a network namespace, whose
wire is cut, frozen, slowed down, made lossy, or reset in the middle of a transfer; it takes root.

lost: outcomes that were stored once, and are not there. duplicated: requests with two outcomes.
torn: rows that cannot be read. unfinished: campaigns that did not come to their end. failed:
networks that finally failed, though every one of them compiles and runs. leaked: processes that are
still there 5 s after the end. recovery_s: from a kill, or the end of a fault, to the next outcome.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.network_faults import struck_by_faults
from benchmarks.ray_nodes import Nodes
from benchmarks.report import finish
from benchmarks.struck import END_S, MARK, Run, Setting, Tally, cleaned, judged, processes

CLUSTER = """\
store: results
measure: {warmup_s: 0.02, rounds: 2, block_s: 0.01, min_samples: 2, min_sessions: 2,
          max_sessions: 3, timeout_s: 20}
devices:
  cpu1: {kind: cpu, threads: 1}
  pixel: {kind: replay, column: pixel3, seed: 1}
  raspi: {kind: replay, column: raspi4, seed: 2}
  emu-pi:
    kind: qemu-pi
    controls: {every: 0}
    measure: {min_sessions: 1, max_sessions: 1, rounds: 2, block_s: 0.001, timeout_s: 300}
"""

DEVICES = ("cpu1", "pixel", "raspi")

GUEST = "emu-pi"
"""Only where it is asked for: it takes ten times as long for a network."""

SIGNALS = {"SIGKILL": 0.6, "SIGTERM": 0.2, "SIGSTOP": 0.2}
"""How often each is sent."""

STOPPED_S = (0.5, 4.0)
"""For how long a stopped process is stopped."""

PAUSE_S = (0.5, 4.0)
"""From one kill to the next."""

KEEPER = "ray start"
"""Keeps a node running, in the place of a service manager, and is not killed."""

OF_CAMPAIGNS = {"builder", "device actor", "predictor", "compiler", "runner", "guest", "driver"}
"""What may not run any more once campaigns are done, even if the cluster still does."""

Struck = tuple[Tally, dict[str, Any]]


class Kills(Run):
    """Campaigns whose processes die."""

    def strike(self) -> None:
        """Kill, end or stop one process."""
        time.sleep(self.rng.uniform(*PAUSE_S))
        victims = sorted(processes(self.mark), key=lambda p: p.pid)
        kinds = sorted({kind(p) for p in victims} - {KEEPER})
        if not kinds:
            return
        chosen = self.rng.choice(kinds)  # rare kinds are hit as often as common ones
        victim = self.rng.choice([p for p in victims if kind(p) == chosen])
        name = str(self.rng.choice(list(SIGNALS), p=list(SIGNALS.values())))
        self.look()
        with suppress(psutil.Error):
            victim.send_signal(signal.Signals[name])
            self.tally.faults[f"{name} {chosen}"] += 1
            if name == "SIGSTOP":
                time.sleep(self.rng.uniform(*STOPPED_S))
                victim.send_signal(signal.SIGCONT)
        self.struck()


def kind(process: psutil.Process) -> str:
    """What a process is to the farm."""
    with suppress(psutil.Error):
        words = process.cmdline()
        line = " ".join(words)
        for end, name in (
            ("bin/ray start", KEEPER),
            ("ray::Builder", "builder"),
            ("ray::DeviceActor", "device actor"),
            ("ray::PredictorActor", "predictor"),
            ("ray::", "idle worker"),
            ("raylet", "raylet"),
            ("gcs_server", "gcs"),
            ("farm.compile.worker", "compiler"),
            ("runner.py", "runner"),
            ("qemu-system", "guest"),
            ("bin/farm", "driver"),
        ):
            if end in line:
                return name
        return "ray's helper" if "/ray/" in line else "other"
    return "other"


def struck_by_kills(setting: Setting) -> Struck:
    """What was done, and what was found."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:  # a short path, as Ray needs it
        folder = Path(name)
        mark = f"{MARK}={folder}"
        with cleaned(mark), ExitStack() as stack:
            nodes = None
            if setting.nodes > 1:
                at = setting.devices[: setting.nodes]
                nodes = stack.enter_context(Nodes(folder / "ray", at, {MARK: str(folder)}))
            tally = Kills(folder, setting, nodes).all()
            time.sleep(END_S)
            leaked = sum(kind(p) in OF_CAMPAIGNS for p in processes(mark))
            stack.close()
            leaked = max(leaked, len(processes(mark)))
        return tally, {**judged(folder, tally), "leaked": leaked}


def run(
    kills: Setting | None, network_faults: Setting | None
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows of what was done how often, and the summary of both."""
    asked: tuple[tuple[Setting | None, Callable[[Setting], Struck]], ...] = (
        (kills, struck_by_kills),
        (network_faults, struck_by_faults),
    )
    done = [strike(setting) if setting else (Tally(), {}) for setting, strike in asked]
    recovery_s = [seconds for tally, _ in done for seconds in tally.recovery_s]
    rows = [
        {"what": what, "times": times}
        for tally, _ in done
        for what, times in sorted(tally.faults.items())
    ]
    found = [one for _, one in done if one]
    totals = {name: sum((one[name] for one in found[1:]), found[0][name]) for name in found[0]}
    return rows, {
        "kills": done[0][0].faults.total(),
        "network_faults": done[1][0].faults.total(),
        **totals,
        "recovery_s_median": float(np.median(recovery_s)) if recovery_s else None,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--network-faults", type=int, default=100)
    parser.add_argument("--executor", choices=("ray", "inline"), default="ray")
    parser.add_argument("--nodes", type=int, default=1, help="1 to 3 nodes of Ray (1)")
    parser.add_argument("--devices", nargs="+", choices=(*DEVICES, GUEST), default=DEVICES)
    parser.add_argument("--budget", type=int, default=12, help="on each device")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    same = {"executor": given.executor, "budget": given.budget, "seed": given.seed}
    both = (
        Setting(
            faults=given.kills, cluster=CLUSTER, devices=given.devices, nodes=given.nodes, **same
        ),
        Setting(faults=given.network_faults, cluster="", devices=["net1"], **same),
    )
    rows, summary = run(*(one if one.faults else None for one in both))
    finish("faults", rows, summary, given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
