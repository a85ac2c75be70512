"""What happened is told once, in order and in words, and does not grow without end."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace

from farm.core.values import Network
from farm.measurement.record import Failure
from farm.store import Revision, Store, device_thing
from farm.store.events import ENDED, About
from farm.store.events_schema import EVENTS
from farm.store.lease import Owner
from tests.store.test_store import FACTS, A, B, asked, measurement, store

__all__ = ["store"]


def told(store, last=0):
    return [event.sentence for event in store.events_after(last, 100)]


def failure(request, kind="crash"):
    return Failure(request.network, request.device, kind, "so", retryable=True)


def test_a_campaign_is_told_in_words(store):
    name, (first, second) = asked(store, (A, B), ("cpu1",))
    run = store.begin_run(name)
    store.record(first, measurement(A))
    store.record(second, failure(second), final=False)
    store.record(second, failure(second))
    store.stop(name, "cpu1", "the goal is reached")
    store.end_run(run)
    store.cancel(name)
    assert told(store) == [
        "c1 asked for",
        "c1 a run began",
        f"cpu1 measured {A.id}: {measurement().verdict} (c1)",
        f"cpu1 failed with {B.id}: crash: so (c1)",
        f"cpu1 gave up {B.id}: crash: so (c1)",
        "cpu1 knows enough: the goal is reached (c1)",
        "c1 a run ended: 1 measured, 1 failed",
        "c1 somebody asked it to end",
    ]
    page = [event.kind for event in store.events(name, 3)]
    assert page == ["cancelled", ENDED, "enough"]
    assert "measured" not in {event.kind for event in store.events(name, 100)}


def test_a_device_is_lost_once_and_comes_back_once(store):
    _, requests = asked(store, (A, B), ("cpu1",))
    last = store.newest_event()
    for _ in range(2):
        for request in requests:
            store.record(request, failure(request, "lost"), final=False)
    for request in requests:
        store.record(request, measurement(request.network))
    assert [event.kind for event in store.events_after(last, 100)] == [
        *("lost", "back"),
        *("measured", "measured"),
    ]


def test_what_happens_to_a_device_is_of_the_campaigns_that_use_it(store):
    store.quarantine("cpu1", "before")
    name, _ = asked(store, (A,), ("cpu1",))
    store.begin_run(name)
    last = store.newest_event()
    store.release("cpu1")
    store.quarantine("pi", "another's")
    mine = FACTS.fingerprint
    store.add_revision(Revision(mine, "cpu1", mine, "first", 1.0, "first seen"))
    claim = store.ask(Owner.here("farm launch"), [device_thing("cpu1")], 4e9)
    store.take(claim, 0.0)
    store.give_back(claim)
    found = store.events_after(last, 100)
    assert [(event.kind, event.device) for event in found] == [
        *(("released", "cpu1"), ("quarantined", "pi"), ("revised", "cpu1")),
        *(("held", "cpu1"), ("free", "cpu1")),
    ]
    about = About(campaign=name, devices=("cpu1",))
    kinds = [event.kind for event in found if about.concerns(event)]
    assert kinds == ["released", "revised", "held", "free"]
    assert [event.kind for event in store.events(name, 4)] == kinds[::-1]
    assert [e.kind for e in found if About(device="pi").concerns(e)] == ["quarantined"]


def test_outcomes_are_forgotten_in_time_and_what_matters_is_kept(store):
    asked(store, (A,), ("cpu1",))
    with closing(sqlite3.connect(store.path)) as db, db:
        rows = [("measured",)] * 25_000 + [("lost",)]
        db.executemany("INSERT INTO events (at, kind) VALUES ('2026', ?)", rows)
        (n,) = db.execute("SELECT count(*) FROM events WHERE kind = 'measured'").fetchone()
    assert 10_000 <= n <= 10_200
    assert store.events_after(0, 1)[0].kind == "launched"


def test_an_older_store_is_told_of_what_it_knows(tmp_path, store):
    name, (first, *_) = asked(store)
    store.end_run(store.begin_run(name))
    store.record(first, replace(failure(first), message="old"))
    with closing(sqlite3.connect(store.path)) as db, db:
        kinds = db.execute("SELECT name FROM sqlite_schema WHERE name LIKE '%_event' ").fetchall()
        for (trigger,) in kinds:
            db.execute(f"DROP TRIGGER {trigger}")
        db.execute("DROP TABLE events")
        for sql in EVENTS:
            db.execute(sql)
    with Store(tmp_path) as again:
        assert [event.kind for event in again.events_after(0, 9)] == [
            *("launched", "began", "ended", "gave up")
        ]
        again.add_requests(name, [Network("nb201", "new")], ["cpu1"], "learn")
        again.record(again.pending(name)[-1], measurement(Network("nb201", "new")))
        assert again.events_after(4, 9)[0].kind == "measured"
