"""Several processes of the farm on one store: real ones, on replayed devices."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest

from farm.cli import show_devices
from farm.core.errors import Leased
from farm.farm import Farm
from tests.campaign.test_campaign import outcomes
from tests.store.test_leases import stop

ROOT = Path(__file__).parents[2]
CELL = "nb201/|none~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|"
CLUSTER = """\
store: results
references: [raspi4, pixel3]
devices:
  raspi4: {kind: replay, noise: 0, speed_up: 20}
  pixel3: {kind: replay, noise: 0, speed_up: 20}
  a: {kind: "tests.fakes:FakeAgent", slow_s: 0.1, cores: [0]}
  b: {kind: "tests.fakes:FakeAgent", slow_s: 0.1, cores: [0]}
"""
COMMAND = """
import sys
from farm.cli import main
from farm.store import holding

holding.LEASE_S = float(sys.argv.pop(1))
main()
"""


class Started:
    """The command in a process of its own. lease_s: how long its leases last."""

    def __init__(self, folder: Path, *words: str, lease_s: float = 60.0) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", COMMAND, str(lease_s), *words],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid
        self.send = self._process.send_signal

    def ended(self) -> tuple[int, str, str]:
        """(exit code, stdout, stderr)"""
        out, err = self._process.communicate(timeout=180)
        return self._process.returncode, out, err

    @property
    def goes_on(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        if self.goes_on:
            self._process.kill()
        self._process.communicate()


@pytest.fixture
def run(tmp_path, published) -> Iterator[Callable[..., Started]]:
    published("nb201.npz")
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    started: list[Started] = []

    def begin(*words: str, lease_s: float = 60.0) -> Started:
        started.append(Started(tmp_path, *words, lease_s=lease_s))
        return started[-1]

    yield begin
    for one in started:
        one.kill()


def launch(device: str, executor: str = "inline") -> tuple[str, ...]:
    """Of a campaign that goes on until it is cancelled."""
    asked = ("--devices", device, "--budget", "600", "--holdout", "2", "--select", "random")
    return ("launch", *asked, "--executor", executor)


def resume(campaign: str) -> tuple[str, ...]:
    return ("campaign", "resume", campaign, "--executor", "inline")


def until(run_on: Started, found: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 180
    while True:
        with suppress(Exception):  # the store may be half made
            if found():
                return
        assert time.monotonic() < deadline_s
        assert run_on.goes_on, run_on.ended()
        time.sleep(0.1)


def until_it_measured(run_on: Started, farm: Farm, device: str, more: int = 2) -> None:
    def measured() -> int:
        with farm.store() as store:
            return len(store.measurements(device=device))

    at_first = measured() if farm.config.store.exists() else 0
    until(run_on, lambda: measured() >= at_first + more)


@pytest.mark.slow
def test_one_of_two_campaigns_is_killed_while_somebody_asks(tmp_path, run, caplog):
    """Its device is free at once, the rest goes on, and nothing is lost or twice."""
    farm = Farm.open(tmp_path / "cluster.yaml")
    killed = run(*launch("raspi4", "ray"))
    until_it_measured(killed, farm, "raspi4")
    goes_on = run(*launch("pixel3"))
    until_it_measured(goes_on, farm, "pixel3")
    assert {device: lease.owner.pid for device, lease in farm.held().items()} == {
        "raspi4": killed.pid,
        "pixel3": goes_on.pid,
    }
    shown = {one["name"]: one["held_by"] for one in show_devices.devices_json(farm)["devices"]}
    assert (shown["raspi4"]["campaign"], shown["pixel3"]["campaign"]) == ("c1", "c2")
    with farm.store() as store:
        assert [c.run_by.owner.pid for c in store.campaigns()] == [killed.pid, goes_on.pid]
    with pytest.raises(Leased, match=f"c1 is run by process {killed.pid} on "):
        farm.resume("c1", executor="inline")

    # The campaigns that hold the devices measure what a query wants, among their own networks.
    with caplog.at_level(logging.WARNING):
        encoding = farm.hwl(CELL)
    assert [one.source for one in encoding.references] == ["measured", "measured"]
    assert f"waiting for raspi4: process {killed.pid} on " in caplog.text
    assert farm.held().keys() == {"raspi4", "pixel3"}

    before = outcomes(tmp_path / "cluster.yaml")
    killed.send(signal.SIGKILL)
    resumed = run(*resume("c1"))
    until_it_measured(resumed, farm, "raspi4")
    until_it_measured(goes_on, farm, "pixel3")
    for name in ("c1", "c2"):
        farm.cancel(name)
    assert (resumed.ended()[0], goes_on.ended()[0]) == (1, 1)
    after = outcomes(tmp_path / "cluster.yaml")
    assert set(after.values()) == {1}
    assert before.keys() <= after.keys()
    assert farm.held() == {}


@pytest.mark.slow
def test_a_campaign_that_was_stopped_and_comes_back_late_writes_nothing(tmp_path, run):
    farm = Farm.open(tmp_path / "cluster.yaml")
    late = run(*launch("raspi4"), lease_s=1)
    until_it_measured(late, farm, "raspi4")
    with farm.store() as store:
        stop(store, late.pid)
    until(late, lambda: farm.held() == {})
    before = outcomes(tmp_path / "cluster.yaml")
    resumed = run(*resume("c1"))
    until(resumed, lambda: farm.held()["raspi4"].owner.pid == resumed.pid)
    late.send(signal.SIGCONT)
    code, out, err = late.ended()
    assert (code, out) == (1, "")
    assert f"was taken over by process {resumed.pid} on " in err
    assert "`farm campaign resume c1` goes on" in err.splitlines()[-1]
    until_it_measured(resumed, farm, "raspi4")
    farm.cancel("c1")
    assert resumed.ended()[0] == 1
    after = outcomes(tmp_path / "cluster.yaml")
    assert set(after.values()) == {1}
    assert before.keys() <= after.keys()


@pytest.mark.slow
def test_two_campaigns_on_one_computer_never_measure_at_once(tmp_path, run):
    """The fakes say when they measured; intervals of devices on shared cores must not overlap."""
    farm = Farm.open(tmp_path / "cluster.yaml")
    both = {device: run(*launch(device)) for device in "ab"}
    for device in "abab":
        until_it_measured(both[device], farm, device)
    for name in ("c1", "c2"):
        farm.cancel(name)
    assert [one.ended()[0] for one in both.values()] == [1, 1]
    with farm.store() as store:
        found = [(m.device, block.telemetry) for m in store.measurements() for block in m.blocks]
    spans = sorted({(seen["started_s"], seen["ended_s"], device) for device, seen in found})
    for (_, ended_s, _), (started_s, _, _) in pairwise(spans):
        assert ended_s <= started_s
    changes = sum(one != other for (*_, one), (*_, other) in pairwise(spans))
    assert changes >= 3, "they took no turns"
