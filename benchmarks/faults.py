"""What is lost when anything dies? Campaigns whose processes are killed, over and over, at random.

    python -m benchmarks.faults --kills 200 --seed 0 [--executor ray] --json

A campaign over a real CPU device and two replay devices runs as a user's does, with `farm launch`.
Every few moments one process of it is chosen, whichever kind it is of (the driver, Ray's own,
actors, compilers, runners, networks under test), and killed (SIGKILL), asked to end (SIGTERM) or
stopped for a while (SIGSTOP). Where the driver has died the campaign is resumed; where it is done
the next one begins. At the end everything is counted.

lost: outcomes that were stored once, and are not there. duplicated: requests with two outcomes.
torn: rows that cannot be read. unfinished: campaigns that did not come to their end. failed:
networks that finally failed, though every one of them compiles and runs. leaked: processes that are
still there 5 s after the end. recovery_s: from a kill to the next outcome.
"""

from __future__ import annotations

import argparse
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.report import finish
from farm.farm import Farm
from farm.store import Store

CLUSTER = """\
store: results
measure: {warmup_s: 0.02, rounds: 2, block_s: 0.01, min_samples: 2, min_sessions: 2,
          max_sessions: 3, timeout_s: 20}
devices:
  cpu1: {kind: cpu, threads: 1}
  pixel: {kind: replay, column: pixel3, seed: 1}
  raspi: {kind: replay, column: raspi4, seed: 2}
"""

DEVICES = ("cpu1", "pixel", "raspi")

SIGNALS = {"SIGKILL": 0.6, "SIGTERM": 0.2, "SIGSTOP": 0.2}
"""How often each is sent."""

STOPPED_S = (0.5, 4.0)
"""For how long a stopped process is stopped."""

PAUSE_S = (0.5, 4.0)
"""From one kill to the next."""

END_S = 5.0

DEADLINE_S = 900.0
"""A campaign that takes longer is unfinished."""

_MARK = "FARM_FAULTS"
"""An environment variable by which all processes of a run are found, whoever their parents are."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """budget: networks to learn from, on each device."""

    kills: int = 200
    executor: str = "ray"
    devices: Sequence[str] = DEVICES
    budget: int = 12
    seed: int = 0


@dataclass
class Tally:
    """What was done, and what came of it."""

    kills: Counter[str] = field(default_factory=Counter)
    recovery_s: list[float] = field(default_factory=list)
    resumed: int = 0
    campaigns: int = 0
    unfinished: int = 0
    seen: set[tuple[str, int]] = field(default_factory=set)


class Run:
    """Campaigns in one folder, one after the other, and what is done to them."""

    def __init__(self, folder: Path, setting: Setting) -> None:
        self._folder = folder
        self._setting = setting
        self._rng = np.random.default_rng(setting.seed)
        self._mark = f"{_MARK}={folder}"
        self.tally = Tally()
        (folder / "cluster.yaml").write_text(CLUSTER)

    def all(self) -> Tally:
        """Campaign after campaign, until enough processes were killed and the last is done."""
        while self._more:
            self.tally.campaigns += 1
            self._one()
        return self.tally

    @property
    def _more(self) -> bool:
        return self.tally.kills.total() < self._setting.kills

    def _one(self) -> None:
        driver = self._launch()
        deadline_s = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline_s:
            if driver.poll() is not None:
                if self._done():
                    return
                self.tally.resumed += 1
                driver = self._again()
            if self._more:
                self._strike()
            else:
                time.sleep(0.5)
        self.tally.unfinished += 1
        end_all(self._mark)

    def _launch(self) -> subprocess.Popen[bytes]:
        devices, budget = ",".join(self._setting.devices), str(self._setting.budget)
        asked = ["--space", "nb201", "--devices", devices, "--fresh", "--no-kernels"]
        asked += ["--budget", budget, "--holdout", "4"]
        return self._start("launch", *asked, "--seed", str(self.tally.campaigns))

    def _again(self) -> subprocess.Popen[bytes]:
        """What a user does after a crash: resume, or launch anew where nothing was stored yet."""
        if self._count("SELECT count(*) FROM campaigns") < self.tally.campaigns:
            return self._launch()
        return self._start("campaign", "resume", "latest")

    def _start(self, *words: str) -> subprocess.Popen[bytes]:
        name, value = self._mark.split("=", 1)
        executor = ["--executor", self._setting.executor]
        with (self._folder / "said.txt").open("ab") as said:
            return subprocess.Popen(
                [str(Path(sys.executable).with_name("farm")), *words, *executor],
                cwd=self._folder,
                env={**os.environ, name: value},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                start_new_session=True,
            )

    def _done(self) -> bool:
        with suppress(Exception), Store(self._folder / "results", create=False) as store:
            campaigns = store.campaigns()
            return len(campaigns) == self.tally.campaigns and campaigns[-1].state == "done"
        return False

    def _strike(self) -> None:
        """Wait for a moment, then do something to one process."""
        time.sleep(self._rng.uniform(*PAUSE_S))
        victims = sorted(processes(self._mark), key=lambda p: p.pid)
        kinds = sorted({kind(p) for p in victims})
        if not kinds:
            return
        chosen = self._rng.choice(kinds)  # rare kinds are hit as often as common ones
        victim = self._rng.choice([p for p in victims if kind(p) == chosen])
        name = str(self._rng.choice(list(SIGNALS), p=list(SIGNALS.values())))
        self._look()
        before = len(self.tally.seen)
        with suppress(psutil.Error):
            victim.send_signal(signal.Signals[name])
            self.tally.kills[f"{name} {chosen}"] += 1
            if name == "SIGSTOP":
                time.sleep(self._rng.uniform(*STOPPED_S))
                victim.send_signal(signal.SIGCONT)
        began_s = time.monotonic()
        while time.monotonic() < began_s + 60 and processes(self._mark):
            self._look()
            if len(self.tally.seen) > before:
                self.tally.recovery_s.append(time.monotonic() - began_s)
                return
            time.sleep(0.1)

    def _look(self) -> None:
        """Remember every outcome that is stored."""
        sql = {
            "measurement": "SELECT id FROM measurements",
            "failure": "SELECT id FROM failures",
        }
        for what, query in sql.items():
            self.tally.seen |= {(what, id) for id in self._column(query)}

    def _count(self, sql: str) -> int:
        return next(iter(self._column(sql)), 0)

    def _column(self, sql: str) -> list[int]:
        path = self._folder / "results" / "farm.db"
        if not path.exists():
            return []
        try:
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as db:
                return [row[0] for row in db.execute(sql)]
        except sqlite3.OperationalError:
            return []


def judged(folder: Path, tally: Tally) -> dict[str, Any]:
    """What is in the store, against what was seen there and what was asked for."""
    with Farm.open(folder / "cluster.yaml").store() as store:
        campaigns = store.campaigns()
        failures = [f for c in campaigns for _, f in store.failures(c.id)]
        readable = len(store.measured())
    with closing(sqlite3.connect(folder / "results" / "farm.db")) as db:
        ids = {("measurement", row[0]) for row in db.execute("SELECT id FROM measurements")}
        ids |= {("failure", row[0]) for row in db.execute("SELECT id FROM failures")}
        (counted,) = db.execute(
            "SELECT count(*) FROM measurements JOIN requests ON requests.id = request "
            "WHERE invalidated IS NULL AND campaign IS NOT NULL"
        ).fetchone()
        (twice,) = db.execute(
            "SELECT count(*) FROM requests WHERE id IN (SELECT request FROM failures WHERE final) "
            "AND id IN (SELECT request FROM measurements WHERE invalidated IS NULL)"
        ).fetchone()
        (whole,) = db.execute("PRAGMA integrity_check").fetchone()
    return {
        "kills": tally.kills.total(),
        "network_faults": 0,
        "lost": len(tally.seen - ids),
        "duplicated": twice,
        "torn": max(0, counted - readable) + (whole != "ok"),
        "failed": len(failures),
        "failed_because": sorted({f"{f.device}: {f.message}"[:200] for f in failures}),
        "unfinished": tally.unfinished + sum(c.state != "done" for c in campaigns),
        "campaigns": len(campaigns),
        "resumed": tally.resumed,
        "recovery_s_median": float(np.median(tally.recovery_s)) if tally.recovery_s else None,
    }


def kind(process: psutil.Process) -> str:
    """What a process is to the farm."""
    with suppress(psutil.Error):
        words = process.cmdline()
        line = " ".join(words)
        for end, name in (
            ("ray::Builder", "builder"),
            ("ray::DeviceActor", "device actor"),
            ("ray::PredictorActor", "predictor"),
            ("ray::", "idle worker"),
            ("raylet", "raylet"),
            ("gcs_server", "gcs"),
            ("farm.compile.worker", "compiler"),
            ("runner.py", "runner"),
            ("bin/farm", "driver"),
        ):
            if end in line:
                return name
        return "ray's helper" if "/ray/" in line else "other"
    return "other"


def processes(mark: str) -> list[psutil.Process]:
    """Those that carry a mark in their environment, ended ones left out."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            environ = Path(f"/proc/{process.pid}/environ").read_bytes()
            if mark.encode() in environ.split(b"\0") and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def end_all(mark: str) -> int:
    """Kill what is left; how many that was."""
    left = processes(mark)
    for process in left:
        with suppress(psutil.Error):
            process.kill()
    return len(left)


@contextmanager
def cleaned(mark: str) -> Iterator[None]:
    """Leaves no process with a mark behind."""
    try:
        yield
    finally:
        end_all(mark)


def run(setting: Setting) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows of what was killed how often, and the summary."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with cleaned(f"{_MARK}={folder}"):
            tally = Run(folder, setting).all()
            time.sleep(END_S)
            leaked = len(processes(f"{_MARK}={folder}"))
        found = judged(folder, tally)
    rows = [{"what": what, "times": times} for what, times in sorted(tally.kills.items())]
    return rows, {**found, "leaked": leaked}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=Setting.kills)
    parser.add_argument("--executor", choices=("ray", "inline"), default=Setting.executor)
    parser.add_argument("--devices", nargs="+", choices=DEVICES, default=DEVICES)
    parser.add_argument("--budget", type=int, default=Setting.budget, help="on each device")
    parser.add_argument("--seed", type=int, default=Setting.seed)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    words = {name: value for name, value in vars(given).items() if name != "json"}
    rows, summary = run(Setting(**words))
    finish("faults", rows, summary, given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
