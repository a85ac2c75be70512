"""Campaigns over an SSH device whose network fails: a part of `benchmarks.faults`."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.struck import END_S, MARK, Run, Setting, Tally, cleaned, judged, processes
from benchmarks.wire import Wire
from tests.sshd import Sshd, sshd

CLUSTER = """\
store: results
measure: {{warmup_s: 0.02, rounds: 2, block_s: 0.01, min_samples: 2, min_sessions: 2,
          max_sessions: 3, timeout_s: 20}}
devices:
  net1: {{kind: ssh, host: "{host}", key: "{key}", host_key: "{host_key}"}}
"""

FAULTS = ("cut", "freeze", "loss", "delay", "reset")

PAUSE_S = (0.5, 4.0)
"""From one fault to the next."""

SHORT_S, LONG_S = (1.0, 10.0), (35.0, 50.0)
"""How long a fault lasts. Long ones, one of eight, last longer than a device may be silent."""

LOSS, DELAY_S = 0.2, 0.2


class Faults(Run):
    """Campaigns whose device is behind a wire."""

    def __init__(self, folder: Path, setting: Setting, wire: Wire) -> None:
        super().__init__(folder, setting)
        self._wire = wire

    def strike(self) -> None:
        """Let the wire fail for a while."""
        time.sleep(self.rng.uniform(*PAUSE_S))
        if not processes(self.mark):
            return
        fault = str(self.rng.choice(FAULTS))
        long = fault in ("cut", "freeze") and self.rng.random() < 5 / 16
        self.tally.faults[f"{fault}, long" if long else fault] += 1
        self.look()
        self._fail(fault)
        time.sleep(self.rng.uniform(*(LONG_S if long else SHORT_S)))
        self._wire.heal()
        self.struck()

    def _fail(self, fault: str) -> None:
        match fault:
            case "cut":
                self._wire.up = False
            case "freeze":
                self._wire.frozen = True
            case "loss":
                self._wire.loss = LOSS
            case "delay":
                self._wire.delay_s = DELAY_S
            case "reset":
                self._wire.reset = True


def struck_by_faults(setting: Setting) -> tuple[Tally, dict[str, Any]]:
    """What was done, and what was found. setting: its cluster is made here."""
    with tempfile.TemporaryDirectory() as name, Wire(f"farm{os.getpid()}", setting.seed) as wire:
        folder = Path(name)
        (folder / "there").mkdir()
        with sshd(folder / "there", host=wire.there, inside=wire.inside) as server:
            with cleaned(f"{MARK}={folder}"):
                tally = Faults(folder, _over(setting, server), wire).all()
                time.sleep(END_S)
                leaked = len(processes(f"{MARK}={folder}"))
                leaked += len(wire.pids() - {server.process.pid})
            server.stop()
        return tally, {**judged(folder, tally), "leaked": leaked}


def _over(setting: Setting, server: Sshd) -> Setting:
    entry = {"host": server.address, "key": server.key, "host_key": server.host_key}
    return Setting(**{**vars(setting), "cluster": CLUSTER.format(**entry)})
