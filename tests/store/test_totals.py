"""What a campaign has come to: sums that the database keeps with the rows that they count."""

from __future__ import annotations

import sqlite3

import pytest

from farm.core.values import Network
from farm.measurement.record import Failure
from farm.store import Store
from tests.store.test_store import FACTS, A, B, asked, measurement


@pytest.fixture
def steps(monkeypatch):
    """Counts the steps of SQLite's machine, in every connection that is opened from now on."""
    taken = [0]
    connect = sqlite3.connect

    def counting(*args, **kwargs):
        connection = connect(*args, **kwargs)
        connection.set_progress_handler(lambda: taken.__setitem__(0, taken[0] + 1), 1)
        return connection

    monkeypatch.setattr(sqlite3, "connect", counting)
    return taken


def progress_steps(folder, steps, rows):
    """What progress costs in a store with so many measurements."""
    networks = [Network("nb201", f"n{i}") for i in range(rows)]
    with Store(folder) as store:
        store.see(FACTS)
        name, requests = asked(store, networks, ["cpu1"])
        for request in requests:
            store.record(request, measurement(request.network))
        steps[0] = 0
        assert store.counts(name) == {"cpu1": (rows, 0), "pi": (0, 0)}
        assert store.device_seconds(name) == rows * 0.5
        return steps[0]


def test_progress_costs_the_same_with_forty_times_the_rows(tmp_path, steps):
    few, many = (progress_steps(tmp_path / str(rows), steps, rows) for rows in (5, 200))
    assert 0 < many == few


def test_they_follow_every_row(tmp_path):
    with Store(tmp_path) as store:
        store.see(FACTS)
        name, requests = asked(store, (A, B), ("cpu1", "pi"))
        on_cpu1 = [request for request in requests if request.device == "cpu1"]
        store.record(on_cpu1[0], measurement(device_s=2.0))
        store.record(on_cpu1[1], Failure(B, "cpu1", "lost", "silent", True), final=False)
        assert store.counts(name) == {"cpu1": (1, 0), "pi": (0, 0)}
        store.record(on_cpu1[1], Failure(B, "cpu1", "crash", "signal 11", False))
        assert store.counts(name) == {"cpu1": (1, 1), "pi": (0, 0)}
        assert store.invalidate("cpu1", "by a test") == 1
        assert store.counts(name) == {"cpu1": (0, 1), "pi": (0, 0)}
        # Device time that was spent stays spent.
        assert (store.device_seconds(name), store.campaign(name).requested) == (2.0, 4)
        store.record(on_cpu1[0], measurement(device_s=3.0))
        assert store.counts(name) == {"cpu1": (1, 1), "pi": (0, 0)}
        assert store.device_seconds(name) == 5.0


def test_control_networks_and_queries_are_no_part_of_them(tmp_path):
    with Store(tmp_path) as store:
        store.see(FACTS)
        name, _ = asked(store, (A,), ("cpu1",))
        (control,) = store.control_requests([A], "cpu1")
        store.record(control, measurement())
        store.record(store.query_requests([B], "cpu1")[B], measurement(B))
        assert store.counts(name) == {"cpu1": (0, 0), "pi": (0, 0)}
        assert store.device_seconds(name) == 0.0
