"""The store: a real SQLite file, other processes, a full disk and a killed writer."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from farm.core.errors import StoreError, StoreFull, StoreNewer, UnknownName
from farm.core.values import Artifact, DeviceFacts, Network, Program
from farm.measurement.record import Block, Control, Failure, Measurement
from farm.measurement.spec import MeasureSpec
from farm.measurement.verdict import Rejection
from farm.store import Plan, Store
from farm.store.edge import translated
from tests import database

A, B = Network("nb201", "a"), Network("nb201", "b/with a slash")
SPEC = MeasureSpec(rounds=2)
PLAN = Plan("nb201", ("cpu1", "pi"), budget=2, holdout=1, seed=7, specs=(SPEC, SPEC))
FACTS = DeviceFacts(
    "cpu1", "box", (1,), {"kind": "llvm"}, {"cpu": "x", "governor": "y"}, {"ram": "1"}
)


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path) as opened:
        opened.see(FACTS)
        yield opened


def measurement(network=A, device="cpu1", latency_s=0.001, device_s=0.5):
    return Measurement(
        network=network,
        device=device,
        fingerprint=FACTS.fingerprint,
        build_key="k",
        spec=SPEC,
        blocks=(
            Block((latency_s, latency_s, 2 * latency_s), 4, {"temp_c": 41.5}),
            Block(
                (latency_s, 3 * latency_s, 1 / 3),
                4,
                {},
                session=1,
                rejected=Rejection("clock", "so"),
            ),
        ),
        warmup_s=((0.1, 0.05), (0.2,)),
        exact=False,
        device_s=device_s,
        measured_at="2026-01-02T03:04:05.678+00:00",
    )


def asked(store, networks=(A, B), devices=("cpu1", "pi"), purpose="learn"):
    name = store.add_campaign(PLAN)
    store.add_requests(name, networks, devices, purpose)
    return name, store.pending(name)


def test_a_plan_comes_back_as_it_was(store):
    plan = replace(PLAN, device_seconds=2.5, select="random")
    assert store.campaign(store.add_campaign(plan)).plan == plan


def test_a_measurement_comes_back_with_everything(store):
    name, requests = asked(store)
    controls = (Control(("nb201/c", "k"), ((0.1, 0.2), (0.3,)), 0.1),)
    full = replace(measurement(), controls=controls, group_spread=0.01, clock_probe_s=4e-5)
    store.record(requests[0], full)
    assert store.measured(campaign=name) == [(requests[0], full)]


def test_progress_is_requests_minus_outcomes(store):
    name, requests = asked(store)
    store.record(requests[0], measurement())
    store.record(requests[1], Failure(A, "pi", "lost", "gone", True), final=False)
    store.record(requests[2], Failure(B, "cpu1", "crash", "signal 11", False))
    assert store.pending(name) == [requests[1], requests[3]]
    assert store.failed_attempts(requests[1].id) == 1
    assert store.failed_attempts(requests[1].id, ("lost", "busy")) == 0
    assert store.counts(name) == {"cpu1": (1, 1), "pi": (0, 0)}
    campaign = store.campaign(name)
    assert (campaign.requested, campaign.measured, campaign.failed) == (4, 1, 1)
    assert campaign.state == "unfinished"


def test_a_request_has_one_outcome(store):
    name, requests = asked(store)
    store.record(requests[0], measurement())
    with pytest.raises(StoreError, match="UNIQUE"):
        store.record(requests[0], measurement())
    crash = Failure(B, "cpu1", "crash", "", False)
    store.record(requests[2], crash)
    with pytest.raises(StoreError, match="UNIQUE"):
        store.record(requests[2], crash)
    assert len(store.measurements(campaign=name)) == 1


def test_asking_twice_is_asking_once(store):
    name, requests = asked(store)
    store.add_requests(name, [A], ["cpu1"], "learn")
    assert store.pending(name) == requests


def test_state_follows_the_outcomes_and_the_wish_to_cancel(store):
    name, _ = asked(store, [A, B, Network("nb201", "c")])
    for request in store.pending(name):
        assert store.campaign(name).state == "unfinished"
        store.record(request, Failure(request.network, request.device, "crash", "", False))
    assert store.campaign(name).state == "done"
    store.cancel(name)
    assert store.campaign(name).state == "cancelled"
    store.run_by("somebody", name)
    assert store.campaign(name).state == "done"


def test_a_campaign_ends_when_its_device_seconds_are_spent(store):
    name = store.add_campaign(replace(PLAN, device_seconds=0.4))
    store.add_requests(name, [A], ["cpu1"], "learn")
    assert store.campaign(name).state == "unfinished"
    store.record(store.pending(name)[0], measurement(device_s=0.5))
    assert store.campaign(name).state == "done"


def test_wall_time_sums_runs_also_killed_ones(store):
    name, requests = asked(store)
    store.end_run(store.begin_run(name))
    assert 0 <= store.campaign(name).wall_s < 60
    killed = store.begin_run(name)
    sql = "UPDATE runs SET started_at = '2026-01-02T03:04:00.678+00:00' WHERE id = ?"
    database.rows(store, sql, killed)
    store.record(requests[0], measurement())
    assert store.campaign(name).wall_s == pytest.approx(5, abs=0.5)


def test_the_latency_matrix_says_what_is_known(store):
    _, requests = asked(store)
    store.record(requests[0], measurement(A, "cpu1", 0.002))
    values_s, mask = store.latency_matrix([B, A], ["pi", "cpu1"])
    np.testing.assert_array_equal(mask, [[False, False], [False, True]])
    assert values_s[1, 1] == 0.002
    assert np.isnan(values_s[~mask]).all()


def test_what_a_query_measured_belongs_to_no_campaign(store):
    name, _ = asked(store)
    request = store.query_requests([A], "cpu1")[A]
    assert store.query_requests([A], "cpu1")[A] == request
    store.record(request, measurement())
    assert store.outcome(request) == measurement()
    assert store.measurements(campaign=name) == []
    assert store.measurements(device="cpu1", network=A) == [measurement()]


def test_an_outcome_that_is_not_there_is_an_error(store):
    with pytest.raises(LookupError, match="no outcome yet"):
        store.outcome(store.query_requests([A], "cpu1")[A])


def test_facts_come_back_once_for_each_fingerprint(store):
    store.see(FACTS)
    changed = replace(FACTS, identity={"cpu": "x", "governor": "performance"})
    store.see(changed)
    assert store.facts("cpu1") == [FACTS, changed]
    assert changed.fingerprint != FACTS.fingerprint


def test_builds_are_counted_for_who_paid_and_who_found_them(store):
    first, second = store.add_campaign(PLAN), store.add_campaign(PLAN)
    artifact = Artifact("k", Path("x.so"), "0" * 64, 10, 1.5, Program((), 0, ()))
    store.add_build(first, A, "llvm", artifact)
    store.use_build(first, "k")
    store.use_build(second, "k")
    assert store.builds(first) == (1, 0)
    assert store.builds(second) == (0, 1)


def test_an_unknown_campaign_is_named_with_the_known_ones(store):
    with pytest.raises(UnknownName, match="no campaign 'latest'; known: none"):
        store.campaign("latest")
    store.add_campaign(PLAN)
    assert store.campaign("latest").id == "c1"
    with pytest.raises(UnknownName, match="no campaign 'c9'; known: c1; the store is"):
        store.campaign("c9")


def test_survives_being_opened_again(tmp_path):
    with Store(tmp_path) as first:
        first.see(FACTS)
        name, requests = asked(first)
        first.record(requests[0], measurement())
    with Store(tmp_path, create=False) as second:
        assert second.measurements(campaign=name) == [measurement()]


def test_a_missing_store_is_not_made_by_reading(tmp_path):
    with pytest.raises(StoreError, match="no store in"):
        Store(tmp_path / "none", create=False)
    assert not (tmp_path / "none").exists()


def test_a_later_schema_is_refused_and_untouched(tmp_path):
    with Store(tmp_path) as store:
        store.add_campaign(PLAN)
    with sqlite3.connect(tmp_path / "farm.db") as db:
        row = ("farm", "m999_from_the_future", "2030")
        db.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES (?, ?, ?)", row
        )
    db.close()
    with pytest.raises(StoreNewer, match=r"m999_from_the_future.*update the farm"):
        Store(tmp_path)


def test_something_else_than_a_store_is_refused(tmp_path):
    (tmp_path / "farm.db").write_bytes(b"this is a letter, not a database" * 100)
    with pytest.raises(StoreError, match="not a database"):
        Store(tmp_path)


def test_a_full_disk_loses_nothing(tmp_path):
    with Store(tmp_path) as store:
        store.see(FACTS)
        name, requests = asked(store)
        store.record(requests[0], measurement())
        drawn_s = tuple(np.random.default_rng(0).random(40_000).tolist())
        long = replace(measurement(B), blocks=(Block(drawn_s, 1, {}),))
        largest = max(path.stat().st_size for path in tmp_path.iterdir())
        with no_file_above(largest), pytest.raises(StoreFull, match="free some space, then run"):
            store.record(requests[2], long)
        assert store.measurements(campaign=name) == [measurement()]
        assert len(store.pending(name)) == 3
        store.record(requests[2], long)
        assert store.measurements(campaign=name) == [measurement(), long]


@contextmanager
def no_file_above(size_bytes: int) -> Iterator[None]:
    """As on a disk without room: nothing that this process writes gets larger."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_database_is_a_full_disk(tmp_path):
    path = tmp_path / "full.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE samples (values_s BLOB)")
        db.execute("PRAGMA max_page_count = 2")
        with pytest.raises(StoreFull, match="no room on the disk"), translated(path):
            db.execute("INSERT INTO samples VALUES (zeroblob(100000))")


WRITER = """
import sys
from pathlib import Path
from tests.store.test_store import *

with Store(Path(sys.argv[1])) as store:
    store.see(FACTS)
    name, requests = asked(store, [Network("nb201", str(i)) for i in range(500)])
    for request in requests:
        store.record(request, replace(measurement(), network=request.network))
        print(request.id, flush=True)
"""


def test_a_killed_writer_loses_nothing_that_it_reported(tmp_path):
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    reported = [int(writer.stdout.readline()) for _ in range(50)]
    os.kill(writer.pid, signal.SIGKILL)
    reported += [int(line) for line in writer.stdout.read().splitlines() if line]
    writer.wait()
    writer.stdout.close()
    with Store(tmp_path, create=False) as store:
        measured = [request.id for request, _ in store.measured()]
        assert set(reported) <= set(measured)
        assert len(measured) == len(set(measured))
        assert len(measured) + len(store.pending("c1")) == 1000


OPENER = """
import sys
from pathlib import Path
from tests.store.test_store import PLAN, Store

sys.stdin.readline()
with Store(Path(sys.argv[1])) as store:
    store.add_campaign(PLAN)
"""


@pytest.mark.slow
def test_many_processes_may_make_one_store_at_once(tmp_path):
    command = [sys.executable, "-c", OPENER, str(tmp_path)]
    openers = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(6)]
    for opener in openers:
        assert opener.stdin is not None
        opener.stdin.write(b"go\n")
        opener.stdin.flush()
    for opener in openers:
        opener.communicate()
    assert [opener.returncode for opener in openers] == [0] * 6
    with Store(tmp_path, create=False) as store:
        assert [c.id for c in store.campaigns()] == [f"c{n}" for n in range(1, 7)]
    assert {p.name for p in tmp_path.iterdir()} == {"farm.db"}
