"""Campaigns that something is done to, over and over, and what is counted at the end.

What `benchmarks.faults` does to them is said by subclasses of `Run`.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.ray_nodes import Nodes
from farm.farm import Farm
from farm.store import Store

DEADLINE_S = 900.0
"""A campaign that takes longer is unfinished."""

RECOVERY_S = 90.0
"""For so long a next outcome is waited for before something else is done."""

END_S = 5.0
"""After the end no process may be there any more."""

MARK = "FARM_FAULTS"
"""An environment variable by which all processes of a run are found, whoever their parents are."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is run. faults: how many there are. cluster: the text of cluster.yaml.

    budget: networks to learn from, on each device. nodes: computers on which Ray runs.
    """

    faults: int
    cluster: str
    devices: Sequence[str]
    executor: str = "ray"
    budget: int = 12
    seed: int = 0
    nodes: int = 1


@dataclass
class Tally:
    """What was done, and what came of it."""

    faults: Counter[str] = field(default_factory=Counter)
    recovery_s: list[float] = field(default_factory=list)
    resumed: int = 0
    campaigns: int = 0
    unfinished: int = 0
    seen: set[tuple[str, int]] = field(default_factory=set)


class Run(ABC):
    """Campaigns in one folder, one after the other, and what is done to them."""

    def __init__(self, folder: Path, setting: Setting, nodes: Nodes | None = None) -> None:
        """nodes: of the Ray cluster to use, if not the farm's own."""
        self.folder = folder
        self._nodes = nodes
        self.setting = setting
        self.rng = np.random.default_rng(setting.seed)
        self.mark = f"{MARK}={folder}"
        self.tally = Tally()
        self._struck: tuple[float, int] | None = None
        address = "" if nodes is None else f"ray: 127.0.0.1:{nodes.port}\n"
        (folder / "cluster.yaml").write_text(address + setting.cluster)

    @abstractmethod
    def strike(self) -> None:
        """Wait for a moment, then do one thing to the campaign, and add it to `tally`."""

    def all(self) -> Tally:
        """Campaign after campaign, until enough was done and the last is at its end."""
        while self._more:
            self.tally.campaigns += 1
            self._one()
        return self.tally

    @property
    def _more(self) -> bool:
        return self.tally.faults.total() < self.setting.faults

    def _one(self) -> None:
        driver = self._launch()
        deadline_s = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline_s:
            if self._nodes is not None:
                self._nodes.restart_what_ended()
            if driver.poll() is not None:
                if self._done():
                    self._struck = None
                    return
                self.tally.resumed += 1
                driver = self._again()
            if self._recovering():
                time.sleep(0.1)
            elif self._more:
                self.strike()
            else:
                time.sleep(0.5)
        self.tally.unfinished += 1
        end_all(self.mark)

    def _launch(self) -> subprocess.Popen[bytes]:
        devices, budget = ",".join(self.setting.devices), str(self.setting.budget)
        asked = ["--space", "nb201", "--devices", devices, "--fresh", "--no-kernels"]
        asked += ["--budget", budget, "--holdout", "4"]
        return self._start("launch", *asked, "--seed", str(self.tally.campaigns))

    def _again(self) -> subprocess.Popen[bytes]:
        """What a user does after a crash: resume, or launch anew where nothing was stored yet."""
        if self._count("SELECT count(*) FROM campaigns") < self.tally.campaigns:
            return self._launch()
        return self._start("campaign", "resume", "latest")

    def _start(self, *words: str) -> subprocess.Popen[bytes]:
        name, value = self.mark.split("=", 1)
        executor = ["--executor", self.setting.executor]
        with (self.folder / "said.txt").open("ab") as said:
            return subprocess.Popen(
                [str(Path(sys.executable).with_name("farm")), *words, *executor],
                cwd=self.folder,
                env={
                    **(os.environ if self._nodes is None else self._nodes.environment),
                    name: value,
                },
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                start_new_session=True,
            )

    def _done(self) -> bool:
        with suppress(Exception), Store(self.folder / "results", create=False) as store:
            campaigns = store.campaigns()
            return len(campaigns) == self.tally.campaigns and campaigns[-1].state == "done"
        return False

    def struck(self) -> None:
        """Take note that something was done now."""
        self._struck = time.monotonic(), len(self.tally.seen)

    def _recovering(self) -> bool:
        """Whether no outcome has come since something was done; how long that took is kept."""
        if self._struck is None:
            return False
        (began_s, before), now_s = self._struck, time.monotonic()
        self.look()
        if len(self.tally.seen) > before or now_s > began_s + RECOVERY_S:
            self.tally.recovery_s.append(now_s - began_s)
            self._struck = None
            self._say(now_s - began_s)
        return self._struck is not None

    def _say(self, seconds: float) -> None:
        done, wanted = self.tally.faults.total(), self.setting.faults
        median_s = float(np.median(self.tally.recovery_s))
        told = (
            f"{done} of {wanted}: an outcome after {seconds:.1f} s, {median_s:.1f} s in the median"
        )
        print(told, file=sys.stderr, flush=True)

    def look(self) -> None:
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
        path = self.folder / "results" / "farm.db"
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
        "lost": len(tally.seen - ids),
        "duplicated": twice,
        "torn": max(0, counted - readable) + (whole != "ok"),
        "failed": len(failures),
        "failed_because": sorted({f"{f.device}: {f.message}"[:200] for f in failures}),
        "unfinished": tally.unfinished + sum(c.state != "done" for c in campaigns),
        "campaigns": len(campaigns),
        "resumed": tally.resumed,
    }


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
