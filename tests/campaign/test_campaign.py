"""What a campaign promises, over every executor: the inline one and Ray."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from farm.campaign import causes
from farm.campaign.planning import Launch, planned
from farm.campaign.progress import Progress
from farm.core.errors import DeviceLost
from farm.core.values import Network
from farm.farm import Farm
from farm.inventory.config import load
from farm.measurement.record import Failure
from farm.measurement.spec import MeasureSpec
from farm.store import Holding, Store

EXECUTORS = ["inline", pytest.param("ray", marks=pytest.mark.slow)]

FAKES = """\
store: results
references: [a]
measure: {timeout_s: 2}
devices:
  a: {kind: "tests.fakes:FakeAgent"}
  b: {kind: "tests.fakes:FakeAgent"}
"""


@pytest.fixture
def config(tmp_path):
    return write(tmp_path)


def write(folder: Path, **options: str) -> Path:
    """cluster.yaml with two fakes; `b="fault: crash"` adds an option to device b."""
    text = FAKES
    for name, option in options.items():
        plain = f'  {name}: {{kind: "tests.fakes:FakeAgent"'
        text = text.replace(plain, f"{plain}, {option}")
    path = folder / "cluster.yaml"
    path.write_text(text)
    return path


def outcomes(config: Path) -> Counter:
    """How many outcomes each (campaign, network, device) has."""
    with Farm.open(config).store() as store:
        ended = [request for request, _ in store.measured()]
        for campaign in store.campaigns():
            ended += [request for request, _ in store.failures(campaign.id)]
    return Counter((r.campaign, r.network, r.device) for r in ended)


def asked(config: Path, campaign: str, purpose: str) -> list:
    with Farm.open(config).store() as store:
        return [(r.network, r.device) for r in store.requests(campaign, purpose)]


@pytest.mark.parametrize("executor", EXECUTORS)
class TestEveryExecutor:
    def test_measures_budget_and_holdout_on_each_device(self, config, executor):
        summary = Farm.open(config).launch(
            Launch(space="nb201", devices=["a", "b"], budget=6, holdout=3), executor=executor
        )
        assert summary.campaign.state == "done"
        assert (summary.campaign.requested, summary.campaign.measured) == (18, 18)
        assert summary.counts == {"a": (9, 0), "b": (9, 0)}
        assert set(outcomes(config).values()) == {1}
        learnt, heldout = (set(asked(config, "c1", p)) for p in ("learn", "holdout"))
        assert (len(learnt), len(heldout)) == (12, 6)
        assert not learnt & heldout

    def test_records_networks_that_fail_and_goes_on(self, tmp_path, executor):
        config = write(tmp_path, b="fault: crash")
        summary = Farm.open(config).launch(
            Launch(space="nb201", devices=["a", "b"], budget=3, holdout=1), executor=executor
        )
        assert summary.counts == {"a": (4, 0), "b": (0, 4)}
        assert {failure.kind for _, failure in summary.failures} == {"crash"}
        assert summary.campaign.state == "done"
        assert set(outcomes(config).values()) == {1}

    def test_waits_for_a_lost_device_and_blames_no_network(self, tmp_path, executor, monkeypatch):
        monkeypatch.setattr(causes, "BACK_OFF_S", 0.01)
        config = write(tmp_path, b="fault: lost, fault_times: 11")
        said = []
        summary = Farm.open(config).launch(
            Launch(space="nb201", devices=["b"], budget=6, holdout=4),
            executor=executor,
            watch=lambda progress: said.extend(progress.events),
        )
        assert summary.counts == {"b": (10, 0)}
        assert any(one.startswith("b is lost and will be tried again: ") for one in said)
        assert "b is back" in said

    def test_goes_on_later_with_what_a_lost_device_left(self, tmp_path, executor, monkeypatch):
        monkeypatch.setattr(causes, "BACK_OFF_S", 0.01)
        monkeypatch.setattr(causes, "PATIENCE_S", 0.05)
        asked = Launch(space="nb201", devices=["a", "b"], budget=6, holdout=4)
        farm = Farm.open(write(tmp_path, b="fault: lost"))
        summary = farm.launch(asked, executor=executor)
        assert summary.counts == {"a": (10, 0), "b": (0, 0)}
        assert not summary.succeeded
        off = tmp_path / "off"
        off.touch()
        here = f'off: "{off}"'
        with pytest.raises(DeviceLost, match="a cannot be reached"):
            Farm.open(write(tmp_path, a=here, b=here)).resume(executor="inline")
        farm, said = Farm.open(write(tmp_path, b=here)), []

        def watch(progress: Progress) -> None:
            said.extend(progress.events)
            if any(one.startswith("b is lost and will be tried again: ") for one in said):
                off.unlink(missing_ok=True)

        resumed = farm.resume(executor=executor, watch=watch)
        assert resumed.counts == {"a": (10, 0), "b": (10, 0)}
        assert "b is back" in said

    @pytest.mark.slow
    def test_a_hung_network_becomes_a_failure(self, tmp_path, executor):
        config = write(tmp_path, b="fault: hang")
        summary = Farm.open(config).launch(
            Launch(space="nb201", devices=["b"], budget=1, holdout=0), executor=executor
        )
        assert [failure.kind for _, failure in summary.failures] == ["timeout"]

    def test_resumes_what_a_cancellation_left(self, config, executor):
        farm = Farm.open(config)

        def cancel_soon(progress):
            if sum(d.ended for d in progress.devices.values()) >= 3:
                farm.cancel(progress.campaign)

        cancelled = farm.launch(
            Launch(space="nb201", devices=["a"], budget=28, holdout=2),
            executor=executor,
            watch=cancel_soon,
        )
        assert cancelled.campaign.state == "cancelled"
        assert 3 <= cancelled.campaign.measured < 30
        resumed = farm.resume("latest", executor=executor)
        assert (resumed.campaign.state, resumed.campaign.measured) == ("done", 30)
        assert set(outcomes(config).values()) == {1}
        assert farm.resume("c1", executor=executor).campaign.measured == 30


def test_asks_for_the_same_networks_under_the_same_seed(config):
    farm = Farm.open(config)
    for seed in (3, 3, 4):
        farm.launch(
            Launch(space="nb201", devices=["a"], budget=5, holdout=2, seed=seed),
            executor="inline",
        )
    first, second, third = (asked(config, name, "learn") for name in ("c1", "c2", "c3"))
    assert first == second
    assert first != third


def test_sets_aside_the_network_that_a_device_dies_of(config, monkeypatch):
    monkeypatch.setattr(causes, "BACK_OFF_S", 0.01)
    asked = Launch(space="nb201", devices=["b"], budget=6, holdout=4)
    deadly = planned(asked, load(config)).about.holdout[1]
    write(config.parent, b=f'fault: lost, fault_codes: ["{deadly.code}"]')
    summary = Farm.open(config).launch(asked, executor="inline")
    ((request, failure),) = summary.failures
    assert (request.network, failure.kind) == (deadly, "poison")
    assert "3 times something died on b while it measured this" in failure.message
    assert summary.counts == {"b": (9, 1)}


def test_tries_again_what_finally_failed_when_it_is_asked_to(tmp_path):
    asked = Launch(space="nb201", devices=["b"], budget=3, holdout=2)
    farm = Farm.open(write(tmp_path, b="fault: wrong_output"))
    assert farm.launch(asked, executor="inline").counts == {"b": (0, 5)}
    well = Farm.open(write(tmp_path))
    assert well.resume(executor="inline").counts == {"b": (0, 5)}
    summary = well.resume(executor="inline", again=["failed"])
    assert (summary.counts, summary.failures) == ({"b": (5, 0)}, ())


def test_a_crash_after_a_device_was_lost_is_tried_once_more(tmp_path, monkeypatch):
    monkeypatch.setattr(causes, "BACK_OFF_S", 0.01)
    monkeypatch.setattr(causes, "PATIENCE_S", 0.05)
    asked = Launch(space="nb201", devices=["b"], budget=3, holdout=2)
    Farm.open(write(tmp_path, b="fault: lost")).launch(asked, executor="inline")
    shaky = Farm.open(write(tmp_path, b="fault: crash, fault_times: 1"))
    assert shaky.resume(executor="inline").counts == {"b": (5, 0)}


def test_stops_choosing_when_the_device_seconds_are_spent(config):
    summary = Farm.open(config).launch(
        Launch(space="nb201", devices=["a"], budget=500, holdout=1, device_seconds=1e-09),
        executor="inline",
    )
    assert summary.campaign.state == "done"
    assert 1 <= summary.campaign.measured < 20


LAUNCH = """
import sys
from farm import Farm, Launch

farm = Farm.open(sys.argv[1])
if sys.argv[3] == "launch":
    asked = Launch(space="nb201", devices=["a", "b"], budget=14, holdout=6)
    farm.launch(asked, executor=sys.argv[2])
else:
    farm.resume(executor=sys.argv[2])
"""


KILLED_AFTER = {"inline": (5, 15), "ray": (5,)}
"""So many outcomes. A start of Ray takes long."""


@pytest.mark.slow
@pytest.mark.parametrize("executor", EXECUTORS)
def test_killed_again_and_again_it_measures_everything_once(tmp_path, executor):
    config = write(tmp_path, a="slow_s: 0.02", b="slow_s: 0.02")
    for kill_after, word in zip(KILLED_AFTER[executor], ("launch", "resume"), strict=False):
        process = start(config, executor, word)
        wait_for_outcomes(config, process, kill_after)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        before = outcomes(config)
        assert len(before) < 40
    process = start(config, executor, "resume")
    assert process.wait(timeout=120) == 0
    after = outcomes(config)
    assert set(after.values()) == {1}
    assert len(after) == 40
    assert before.keys() <= after.keys()


def start(config, executor, word) -> subprocess.Popen:
    command = [sys.executable, "-W", "ignore", "-c", LAUNCH, str(config), executor, word]
    return subprocess.Popen(command, start_new_session=True, cwd=Path(__file__).parents[2])


def wait_for_outcomes(config: Path, process: subprocess.Popen, count: int) -> None:
    deadline_s = time.monotonic() + 120
    while time.monotonic() < deadline_s:
        assert process.poll() is None, "it ended before it could be killed"
        if load(config).store.joinpath("farm.db").exists() and len(outcomes(config)) >= count:
            return
        time.sleep(0.01)
    raise AssertionError("no progress")


@pytest.mark.slow
def test_two_devices_of_one_computer_never_measure_at_once(tmp_path):
    """The fakes say when they measured; intervals of devices on shared cores must not overlap."""
    config = write(tmp_path, a="slow_s: 0.03, cores: [0]", b="slow_s: 0.03, cores: [0]")
    Farm.open(config).launch(
        Launch(space="nb201", devices=["a", "b"], budget=5, holdout=1), executor="ray"
    )
    with Farm.open(config).store() as store:
        blocks = [block.telemetry for m in store.measurements() for block in m.blocks]
    spans = sorted({(seen["started_s"], seen["ended_s"]) for seen in blocks})
    sessions = 2 * (
        1 * MeasureSpec().min_sessions + 5 * MeasureSpec().at_precision(0.05).min_sessions
    )
    assert len(spans) >= sessions
    for (_, ended_s), (started_s, _) in pairwise(spans):
        assert ended_s <= started_s


def test_a_campaign_sees_its_progress(config):
    seen = []
    Farm.open(config).launch(
        Launch(space="nb201", devices=["a"], budget=4, holdout=1),
        executor="inline",
        watch=seen.append,
    )
    counts = [p.devices["a"].ended for p in seen]
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (0, 5)
    assert all(p.devices["a"].wanted == 5 for p in seen)
    assert seen[0].left_s is None
    assert seen[-1].left_s == 0
    assert {p.devices["a"].doing for p in seen} >= {"measuring", "done"}
    assert seen[-1].devices["a"].verdicts.total() == 5


def test_one_that_died_before_it_asked_for_networks_asks_for_all_of_them(config):
    """It had asked for kernels, and for nothing else."""
    farm = Farm.open(config)
    asked = Launch(space="nb201", devices=["a"], budget=3, holdout=2)
    farm.launch(replace(asked, budget=1, holdout=0), executor="inline")  # makes the store
    with farm.store() as store:
        name = store.add_campaign(planned(replace(asked, fresh=True), farm.config).plan)
        store.add_requests(name, [Network("kernel", "0")], ["a"], "kernel")
        (request,) = store.requests(name)
        store.record(request, Failure(request.network, "a", "crash", "by a test", False))
    summary = farm.resume(name, executor="inline")
    assert summary.counts == {"a": (5, 0)}


def test_two_campaigns_measure_nothing_twice(config):
    farm = Farm.open(config)
    for seed in (0, 1):
        asked = Launch(space="nb201", devices=["a", "b"], budget=5, holdout=3, seed=seed)
        farm.launch(asked, executor="inline")
    with farm.store() as store:
        measured = [(m.network, m.device) for m in store.measurements()]
        assert len(set(measured)) == len(measured)
        assert store.campaign("c2").measured == 16


def test_what_judges_is_measured_early_and_as_precisely_as_the_device_does(config):
    """Ten that judge are a group and two: those two do not wait for decisions."""
    Farm.open(config).launch(Launch(space="nb201", devices=["a"], budget=40, holdout=10), "inline")
    with Farm.open(config).store() as store:
        ended = store.measured("c1")
        own = store.campaign("c1").plan.spec_of["a"]
    purposes = [request.purpose for request, _ in ended]
    assert Counter(purposes) == {"learn": 40, "holdout": 10}
    assert purposes.index("learn") >= 8
    assert max(i for i, purpose in enumerate(purposes) if purpose == "holdout") < 10 + 16
    for request, m in ended:
        assert m.spec == request.spec(own)
        assert (m.spec == own) == (request.purpose == "holdout")


def test_a_cancellation_while_it_waits_for_its_devices_is_heard(config):
    farm = Farm.open(config)
    asked = Launch(space="nb201", devices=["a"], budget=20, holdout=10)
    farm.launch(asked, "inline", watch=lambda progress: farm.cancel(progress.campaign))
    with Store(farm.config.store) as store, Holding(store, "a test") as other:
        other.wait_for_devices(["a"])
        with ThreadPoolExecutor() as pool:
            resumed = pool.submit(Farm.open(config).resume, "c1", "inline")
            while not store.campaign("c1").run_by or store.is_cancelled("c1"):
                time.sleep(0.01)
            farm.cancel("c1")
            other.__exit__(None, None, None)
    assert resumed.result().campaign.state == "cancelled"
