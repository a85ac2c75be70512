"""What the store keeps of the devices' health, and what no longer counts."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from farm.core.errors import StoreError
from farm.core.values import Network
from farm.store import Revision, Store
from farm.store.connection import connect
from farm.store.migrations import migrations
from tests import database
from tests.store.test_store import FACTS, PLAN, SPEC, A, B, asked, measurement

SLOW = replace(FACTS, identity={"cpu": "x", "governor": "powersave"})
CONTROLS = [Network("nb201", "small"), Network("nb201", "large")]


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path) as opened:
        opened.see(FACTS)
        yield opened


def controled(store, latency_s=0.001, facts=FACTS, networks=CONTROLS):
    """A round of control networks, measured."""
    for number, request in enumerate(store.control_requests(networks, "cpu1"), 1):
        found = measurement(request.network, latency_s=number * latency_s)
        store.record(request, replace(found, fingerprint=facts.fingerprint))


def rows_of(store, latency_s=0.001):
    """A campaign's two measurements on cpu1; its id and their requests."""
    name, _ = asked(store, devices=["cpu1"])
    requests = store.pending(name)
    for request in requests:
        store.record(request, measurement(request.network, latency_s=latency_s))
    return name, requests


class TestInvalidated:
    def test_measurements_are_kept_and_wanted_again(self, store):
        name, requests = rows_of(store)
        assert store.campaign(name).measured == 2
        assert store.invalidate("cpu1", "by hand") == 2
        assert store.invalidate("cpu1", "again") == 0
        assert store.pending(name) == requests
        assert store.measured() == []
        assert store.counts(name)["cpu1"] == (0, 0)
        assert store.campaign(name).measured == 0
        assert not store.latency_matrix([A, B], ["cpu1"])[1].any()
        with pytest.raises(LookupError):
            store.outcome(requests[0])
        kept = database.column(store, "SELECT invalidated FROM measurements")
        assert kept == ["by hand"] * 2

    def test_measurements_are_replaced_by_one(self, store):
        _, requests = rows_of(store)
        store.invalidate("cpu1", "by hand")
        again = measurement(A, latency_s=0.002)
        store.record(requests[0], again)
        assert store.outcome(requests[0]) == again
        with pytest.raises(StoreError, match="UNIQUE"):
            store.record(requests[0], again)

    def test_only_of_the_device(self, store):
        name, requests = asked(store)
        store.see(replace(FACTS, device="pi"))
        for request in requests:
            found = measurement(request.network, device=request.device)
            store.record(request, found)
        store.invalidate("pi", "by hand")
        assert {m.device for m in store.measurements(campaign=name)} == {"cpu1"}


class TestQuarantine:
    def test_holds_a_device_until_it_is_released(self, store):
        assert store.quarantined("cpu1") is None
        store.quarantine("cpu1", "drifted")
        store.quarantine("cpu1", "drifted more")
        held = store.quarantined("cpu1")
        assert (held.reason, held.manual, held.released_at) == ("drifted", False, None)
        assert store.quarantined("pi") is None
        assert store.release("cpu1")
        assert not store.release("cpu1")
        assert store.quarantined("cpu1") is None
        assert [q.released_at is None for q in store.quarantines("cpu1")] == [False]

    def test_by_a_person_outweighs_the_farms(self, store):
        store.quarantine("cpu1", "drifted")
        store.quarantine("cpu1", "its fan is broken", manual=True)
        assert store.quarantined("cpu1").reason == "its fan is broken"
        assert store.quarantined("cpu1").manual

    def test_takes_nothing_back(self, store):
        name, _ = rows_of(store)
        controled(store)
        store.quarantine("cpu1", "its control networks fail")
        assert store.campaign(name).measured == 2
        assert len(store.controls("cpu1", CONTROLS, 5, 5)) == 1


class TestControls:
    def test_come_in_rounds_the_first_and_the_last(self, store):
        for number in range(1, 8):
            controled(store, number * 1e-3)
        found = store.controls("cpu1", CONTROLS, first=2, last=3)
        small = [one.latency_s[CONTROLS[0].id, "k"] * 1e3 for one in found]
        assert small == pytest.approx([1, 2, 5, 6, 7])
        assert all(one.latency_s.keys() == {(a.id, "k") for a in CONTROLS} for one in found)
        assert [one.last_id for one in found] == [2, 4, 10, 12, 14]

    def test_are_of_one_fingerprint_and_quantity_where_that_is_asked(self, store):
        store.see(SLOW)
        controled(store, facts=FACTS)
        controled(store, facts=SLOW)
        assert len(store.controls("cpu1", CONTROLS, 5, 5)) == 2
        (found,) = store.controls("cpu1", CONTROLS, 5, 5, SLOW.fingerprint, SPEC)
        assert found.fingerprint == SLOW.fingerprint
        coarser = replace(SPEC, rounds=9, half_width=0.3)
        assert store.controls("cpu1", CONTROLS, 5, 5, SLOW.fingerprint, coarser) == [found]
        other = replace(SPEC, batch=9)
        assert store.controls("cpu1", CONTROLS, 5, 5, SLOW.fingerprint, other) == []

    def test_are_nobodys_progress_and_nobodys_data(self, store):
        name, _ = rows_of(store)
        controled(store)
        store.control_requests(CONTROLS, "cpu1")
        assert store.pending(None) == []
        assert len(store.measurements()) == 2
        assert store.campaign(name).requested == 2
        assert len(store.measurements(purpose="control")) == 2

    def test_are_those_after_a_measurement_where_that_is_asked(self, store):
        for number in range(1, 5):
            controled(store, number * 1e-3)
        second = store.controls("cpu1", CONTROLS, 5, 5)[1]
        found = store.controls("cpu1", CONTROLS, 1, 5, after=second.last_id)
        small = [one.latency_s[CONTROLS[0].id, "k"] * 1e3 for one in found]
        assert small == pytest.approx([3, 4])

    def test_that_were_invalidated_are_shown_only_where_asked_for(self, store):
        controled(store)
        store.invalidate("cpu1", "by hand")
        assert store.controls("cpu1", CONTROLS, 5, 5) == []
        (found,) = store.controls("cpu1", CONTROLS, 5, 5, invalidated=True)
        assert found.invalidated == "by hand"


class TestRevisions:
    def decided(self, store, decision, base, factor=1.0):
        revision = Revision(SLOW.fingerprint, "cpu1", base, decision, factor, "since")
        store.add_revision(
            Revision(FACTS.fingerprint, "cpu1", FACTS.fingerprint, "first", 1.0, "new")
        )
        store.see(SLOW)
        store.add_revision(revision)

    def test_of_no_decision_hold_nothing_but_themselves(self, store):
        rows_of(store)
        assert len(store.as_now(store.measurements())) == 2
        store.see(SLOW)
        assert store.as_now(store.measurements()) == []
        store.see(FACTS)
        assert len(store.as_now(store.measurements())) == 2

    @pytest.mark.parametrize(
        ("decision", "base", "factor", "expected_s"),
        [
            ("same", FACTS, 1.0, 0.001),
            ("rebased", FACTS, 1.5, 0.0015),
            ("invalidated", SLOW, 1.0, None),
        ],
    )
    def test_say_what_older_results_are_worth(self, store, decision, base, factor, expected_s):
        rows_of(store)
        self.decided(store, decision, base.fingerprint, factor)
        values_s, mask = store.latency_matrix([A], ["cpu1"])
        assert mask[0, 0] == (expected_s is not None)
        if expected_s:
            assert values_s[0, 0] == pytest.approx(expected_s)
            (found, _) = store.as_now(store.measurements())
            assert found.interval_s[1] == pytest.approx(
                factor * store.measurements()[0].interval_s[1]
            )

    def test_hold_both_ways(self, store):
        self.decided(store, "rebased", FACTS.fingerprint, 2.0)
        _, requests = asked(store, devices=["cpu1"])
        found = replace(measurement(A, latency_s=0.004), fingerprint=SLOW.fingerprint)
        store.record(requests[0], found)
        store.see(FACTS)
        assert [m.latency_s for m in store.as_now(store.measurements())] == [0.002]
        own = store.measurements()
        assert [
            m.latency_s for m in store.holding(own, {own[-1].device: own[-1].fingerprint}) if m
        ] == [0.004]

    def test_follow_baselines_that_were_refined_since(self, store):
        """Latencies are told at them: 1.2 as slow, of which the first rounds saw 1.5."""
        controled(store, 0.001)
        _, requests = rows_of(store)
        again = asked(store, devices=["cpu1"])[1]
        self.decided(store, "rebased", FACTS.fingerprint, 1.5)
        for latency_s in (0.0015, 0.0012, 0.0012, 0.0012, 0.0012):
            controled(store, latency_s, SLOW)
        slow = replace(measurement(A, latency_s=0.0012), fingerprint=SLOW.fingerprint)
        store.record(again[0], slow)
        assert store.measurements(network=A)[0].latency_s == pytest.approx(0.001)
        found = [m.latency_s for m in store.as_now(store.measurements(network=A))]
        assert found == pytest.approx([0.0012, 0.0012])
        store.see(FACTS)
        found = [m.latency_s for m in store.as_now(store.measurements(network=A))]
        assert found == pytest.approx([0.001, 0.001])
        assert len(requests) == 2

    def test_once_decided_stay(self, store):
        self.decided(store, "same", FACTS.fingerprint)
        self.decided(store, "invalidated", SLOW.fingerprint)
        assert [revision.decision for revision in store.revisions("cpu1")] == ["first", "same"]


def test_the_newest_certificate_is_shown(store):
    assert store.certificate("cpu1") is None
    for number in (1, 2):
        store.add_certificate("cpu1", "f", {"noise": number})
    found = store.certificate("cpu1")
    assert (found["noise"], found["fingerprint"]) == (2, "f")
    assert found["checked_at"].endswith("+00:00")


def test_a_store_from_before_keeps_everything(tmp_path):
    """Written by the schema before controls: measurements, failures and their requests stay."""
    old = tmp_path / "farm.db"
    db = connect(old)
    migrations.apply(db, stop_before="m005_trust")
    fill_as_before(db)
    db.conn.commit()
    db.close()
    with Store(tmp_path) as opened:
        assert opened.path == old
        (found,) = opened.measurements(campaign="c1")
        assert found.latency_s == 0.25
        assert [r.id for r in opened.pending("c1")] == [9]
        assert [f.kind for _, f in opened.failures("c1")] == ["crash"]
        assert opened.facts("cpu1") == [FACTS]
        assert database.rows(opened, "PRAGMA foreign_key_check") == []
        opened.record(opened.pending("c1")[0], measurement(B))
        assert opened.campaign("c1").measured == 2


def fill_as_before(db):
    """A campaign of three requests: one measured, one failed, one pending."""
    plan = json.dumps(asdict(PLAN))
    db.conn.execute("INSERT INTO campaigns VALUES ('c1', ?, '2026')", [plan])
    for number, network in ((3, A), (5, Network("nb201", "c")), (9, B)):
        values = [number, network.id]
        db.conn.execute("INSERT INTO requests VALUES (?, 'c1', ?, 'cpu1', 'learn', '2026')", values)
    facts = json.dumps(asdict(FACTS), default=dict)
    db.conn.execute("INSERT INTO facts VALUES (?, 'cpu1', ?, '2026')", [FACTS.fingerprint, facts])
    block = {"samples_s": [0.25], "runs_per_sample": 1, "witness": {}, "session": 0}
    row = {
        "request": 3,
        "network": A.id,
        "device": "cpu1",
        "fingerprint": FACTS.fingerprint,
        "spec": json.dumps(asdict(SPEC)),
        "blocks": json.dumps([block]),
        "warmup_s": "[[0.1]]",
        "device_s": 1.0,
        "measured_at": "2026",
    }
    marks = ", ".join("?" * len(row))
    db.conn.execute(
        f"INSERT INTO measurements ({', '.join(row)}) VALUES ({marks})", list(row.values())
    )
    db.conn.execute("INSERT INTO failures VALUES (1, 5, 'crash', 'signal 11', 1, '2026')")
