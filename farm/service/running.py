"""Campaigns that the service runs: each in a process of its own, as `farm campaign resume` does.

What they are is in the store, so a service that starts again goes on with what was not done.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from farm.core.hosts import ASKED_BY
from farm.farm import Farm
from farm.inventory.config import FarmConfig
from farm.service.standing_back import CORES
from farm.store import Store

LOGS = "service-logs"
"""In the store's folder: what the process of each campaign said."""

_SCRIPT = """import os, sys; os.sched_setaffinity(0, {cores})
sys.argv[0] = 'farm'; from farm.cli import main; main()"""

_log = logging.getLogger("farm.service")


class Running:
    """The processes of campaigns. executor: what carries work out."""

    def __init__(self, farm: Farm, executor: str) -> None:
        self._farm = farm
        self.executor = executor
        self._lock = threading.Lock()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def go_on(self, store: Store) -> None:
        """Begin what was asked of an earlier service, is not done, and that nobody runs."""
        for name, who in store.served().items():
            stored = store.campaign(name)
            if stored.state == "unfinished" and stored.run_by is None:
                self.begin(name, who)

    def begin(self, campaign: str, who: str, again: Sequence[str] = ()) -> None:
        """Run a campaign; nothing where its process is at work. who: for whom, see `command`.
        again: see `Farm.resume`."""
        with self._lock:
            if not self.at_work(campaign):
                self._processes[campaign] = self._start(campaign, who, again)

    def at_work(self, campaign: str) -> bool:
        """Whether a campaign has a process."""
        known = self._processes.get(campaign)
        return known is not None and known.poll() is None

    def _start(self, campaign: str, who: str, again: Sequence[str]) -> subprocess.Popen[bytes]:
        config = self._farm.config
        said = log_of(config.store, campaign)
        said.parent.mkdir(mode=0o700, exist_ok=True)
        words = ["campaign", "resume", campaign, "--executor", self.executor]
        words += ["--again", ",".join(again)] if again else []
        _log.info("its process begins", extra={"campaign": campaign})
        with said.open("ab") as file:
            return command(config, words, subprocess.DEVNULL, file, file, who)

    def end(self, campaign: str) -> None:
        """End the process of a campaign, if it has one."""
        with self._lock:
            process = self._processes.get(campaign)
        if process is not None:
            process.terminate()
            process.wait()

    def close(self) -> None:
        """End the processes; what was measured is kept, and the next service goes on."""
        with self._lock:
            for process in self._processes.values():
                process.terminate()
            for process in self._processes.values():
                process.wait()


def command(
    config: FarmConfig,
    words: Sequence[str],
    stdin: IO[bytes] | int,
    stdout: IO[bytes],
    stderr: IO[bytes],
    asked_by: str,
) -> subprocess.Popen[bytes]:
    """A process of `farm` with these words, for the farm that is served. asked_by: whose turn it
    takes, the name of a token."""
    where = ["--config", str(config.path.absolute()), "--store", str(config.store)]
    script = _SCRIPT.format(cores=sorted(CORES))
    argv = [sys.executable, "-c", script, *words, *where]
    own = {**os.environ, ASKED_BY: asked_by}
    return subprocess.Popen(argv, stdin=stdin, stdout=stdout, stderr=stderr, env=own)


def log_of(store: Path, campaign: str) -> Path:
    return store / LOGS / f"{campaign}.log"


def last_words(store: Path, campaign: str) -> str | None:
    """The last line that the process of a campaign said, if it said anything."""
    try:
        lines = log_of(store, campaign).read_text(errors="replace").splitlines()
    except OSError:
        return None
    return next((line.strip() for line in reversed(lines) if line.strip()), None)
