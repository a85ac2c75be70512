"""What devices take while nothing disturbs them, and what is told at it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from farm.core.errors import StoreError
from farm.core.values import Network
from farm.measurement.drift_correction import Baseline
from farm.measurement.record import Control
from farm.store import Store, Stretch
from tests import database
from tests.store.test_store import FACTS, A, B, asked, measurement

CONTROL, OTHER = Network("nb201", "small"), Network("nb201", "large")
SERIES = (CONTROL.id, "k")
DRIFTED = Stretch("cpu1", FACTS.fingerprint, 0, 0.3, "cpu1 drifted by +35 %")


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path) as opened:
        opened.see(FACTS)
        yield opened


def controlled(store, *rounds_s, network=CONTROL, **change):
    """Rounds of a control network, each so long; what the device's baseline is after each."""
    levels_s = []
    for latency_s in rounds_s:
        (request,) = store.control_requests([network], "cpu1")
        store.record(request, replace(measurement(network, latency_s=latency_s), **change))
        levels_s.append(store.baselines("cpu1")[FACTS.fingerprint].levels_s[network.id, "k"])
    return levels_s


def against(control_s, level_s, latency_s=0.001):
    """A measurement beside a control network that took so long in each of its two sessions."""
    controls = (Control(SERIES, ((control_s,), (control_s,)), level_s),)
    return replace(measurement(latency_s=latency_s), controls=controls)


class TestBaseline:
    def test_is_none_before_the_first_round(self, store):
        _, requests = asked(store)
        store.record(requests[0], measurement())
        assert store.baselines("cpu1") == store.baselines("pi") == {}

    def test_is_fixed_after_five_rounds_and_never_moved_by_a_sixth(self, store):
        levels_s = controlled(store, 1.0, 1.1, 1.2, 0.9, 0.8, 0.1, 0.2)
        fixed = (0.8 + 0.25 * 0.9) / 1.25
        assert levels_s == pytest.approx([1.0, 1.0, 1.0, 0.9, fixed, fixed, fixed])

    def test_is_at_the_others_level_after_a_slow_first_round(self, store):
        assert controlled(store, 1.5, 1.0, 1.01, 1.02, 1.0)[-1] == pytest.approx(1.0)

    def test_of_two_controls_is_of_each_its_own_rounds(self, store):
        controlled(store, *[1.0] * 5)
        assert controlled(store, 2.0, 2.0, network=OTHER) == [2.0, 2.0]
        controls = store.baselines("cpu1")[FACTS.fingerprint].controls
        assert {series: len(rounds_s) for series, rounds_s in controls.items()} == {
            SERIES: 5,
            (OTHER.id, "k"): 2,
        }

    def test_comes_back_with_its_clock_and_whatever_the_builds(self, store):
        telemetry = {"clock_probe_s": 4e-5, "core_probe": 0.1}
        blocks = tuple(replace(b, telemetry=telemetry) for b in measurement().blocks)
        controlled(store, 1.0)
        (request,) = store.control_requests([OTHER], "cpu1")
        exact = replace(measurement(OTHER, latency_s=3.0), build_key=None)
        store.record(request, exact)
        (request,) = store.control_requests([CONTROL], "cpu1")
        store.record(request, replace(measurement(CONTROL), blocks=blocks))
        expected = Baseline(
            {SERIES: (1.0, measurement().latency_s), (OTHER.id, None): (3.0,)},
            {"clock_probe_s": (4e-5,), "core_probe": (0.1,)},
        )
        assert store.baselines("cpu1") == {FACTS.fingerprint: expected}

    def test_survives_being_opened_again(self, tmp_path):
        with Store(tmp_path) as first:
            first.see(FACTS)
            controlled(first, 1.0, 2.0)
        with Store(tmp_path) as second:
            known = second.baselines("cpu1")
            assert controlled(second, *[3.0] * 4)[-1] == pytest.approx((1.0 + 0.25 * 2.0) / 1.25)
        assert known == {FACTS.fingerprint: Baseline({SERIES: (1.0, 2.0)})}

    def test_is_of_a_fingerprint(self, store):
        other = replace(FACTS, identity={"cpu": "another"})
        store.see(other)
        controlled(store, 1.0)
        (request,) = store.control_requests([CONTROL], "cpu1")
        slower = replace(measurement(latency_s=2.0), fingerprint=other.fingerprint)
        store.record(request, replace(slower, network=CONTROL))
        assert [b.levels_s[SERIES] for b in store.baselines("cpu1").values()] == [1.0, 2.0]

    def test_begins_anew_once_a_devices_results_are_invalidated(self, store):
        controlled(store, *[1.0] * 5)
        store.invalidate("cpu1", "moved", fingerprint="of another")
        assert store.baselines("cpu1")
        store.invalidate("cpu1", "moved")
        assert store.baselines("cpu1") == {}
        assert controlled(store, 2.0) == [2.0]

    def test_is_one_transaction_with_the_round(self, store):
        database.rows(
            store,
            """CREATE TRIGGER broken BEFORE INSERT ON samples
               BEGIN SELECT RAISE(ABORT, 'broken off'); END""",
        )
        with pytest.raises(StoreError, match="broken off"):
            controlled(store, 1.0)
        assert store.baselines("cpu1") == {}


class TestTold:
    def test_all_are_told_at_the_baseline_as_it_is_now(self, store):
        """One measured after the first round, which was slow, and one when the baseline was fixed:
        the device took 1.3 times as long meanwhile, and as long as it can."""
        _, requests = asked(store, devices=["cpu1"])
        (slow,) = controlled(store, 1.3)
        store.record(requests[0], against(1.3, slow, 0.0013))
        (before,) = store.measurements()
        assert before.latency_s == pytest.approx(0.0013)
        *_, fixed = controlled(store, 1.0, 1.0, 1.0, 1.0)
        later = replace(against(1.0, fixed, 0.001), network=B)
        store.record(requests[1], later)
        assert [m.latency_s for m in store.measurements()] == pytest.approx([0.001, 0.001])
        assert [m.slowdown for m in store.measurements()] == pytest.approx([1.3, 1.0])
        assert store.outcome(requests[0]).latency_s == pytest.approx(0.001)
        values_s, _ = store.latency_matrix([A, B], ["cpu1"])
        assert values_s[:, 0] == pytest.approx([0.001, 0.001])

    def test_those_without_a_known_control_stay(self, store):
        _, requests = asked(store, devices=["cpu1"])
        controlled(store, 1.0)
        unknown = Control((CONTROL.id, "rebuilt"), ((3.0,), (3.0,)), 2.0)
        store.record(requests[0], replace(measurement(), controls=(unknown,)))
        assert store.measurements()[0].slowdown == pytest.approx(1.5)

    def test_what_is_stored_are_the_raw_blocks_and_the_level_of_the_time(self, store):
        _, requests = asked(store, devices=["cpu1"])
        store.record(requests[0], against(1.3, 1.2))
        controlled(store, 1.0)
        (text,) = database.column(
            store,
            "SELECT text FROM texts JOIN measurements ON texts.id = controls WHERE network = ?",
            A.id,
        )
        assert '"blocks_s": [[1.3], [1.3]], "level_s": 1.2' in text


class TestStretch:
    def begun(self, store, baseline=None):
        """A campaign's results before the drift and after it, with controls and without."""
        name = asked(store, [A, B, Network("nb201", "c")], ["cpu1"])[0]
        early, late, told = store.pending(name)
        store.record(early, measurement())
        controlled(store, 1.0)
        (last,) = store.controls("cpu1", [CONTROL], 5, 5)
        store.record(late, measurement(B))
        store.record(told, replace(against(1.35, 1.0), network=told.network))
        controlled(store, 1.35)
        again = store.begin_stretch(replace(DRIFTED, after=last.last_id), baseline)
        return name, late, again

    def test_takes_back_only_what_had_no_controls_since(self, store):
        name, late, again = self.begun(store)
        assert again == 1
        assert store.pending(name) == [late]
        assert store.counts(name)["cpu1"] == (2, 0)
        assert len(store.controls("cpu1", [CONTROL], 5, 5)) == 2
        sql = "SELECT invalidated FROM measurements WHERE invalidated IS NOT NULL"
        assert database.column(store, sql) == [f"suspect: {DRIFTED.reason}"]

    def test_leaves_the_baseline_where_none_is_given(self, store):
        self.begun(store)
        assert store.baselines("cpu1")[FACTS.fingerprint].controls == {SERIES: (1.0, 1.35)}

    def test_puts_another_baseline_in_its_place_which_goes_on_to_be_refined(self, store):
        given = Baseline({SERIES: (0.5,)}, {"clock_probe_s": (3e-5,)})
        self.begun(store, given)
        assert store.baselines("cpu1") == {FACTS.fingerprint: given}
        told = store.measurements()[-1]
        assert told.slowdown == pytest.approx(1.35 / 0.5)
        assert controlled(store, 0.4, 0.6, 0.6, 0.6, 0.1)[-1] == pytest.approx(
            (0.4 + 0.25 * 0.5) / 1.25
        )

    def test_is_told_with_when_it_was_noticed(self, store):
        assert store.stretches("cpu1") == []
        store.begin_stretch(DRIFTED)
        store.begin_stretch(replace(DRIFTED, after=7, shift=-0.3))
        first, second = store.stretches("cpu1")
        assert replace(first, began_at="") == DRIFTED
        assert (second.after, second.shift) == (7, -0.3)
        assert first.began_at.endswith("+00:00")
        assert store.stretches("pi") == []

    def test_leaves_results_of_other_fingerprints_alone(self, store):
        other = replace(FACTS, identity={"cpu": "another"})
        store.see(other)
        _, requests = asked(store, devices=["cpu1"])
        store.record(requests[0], replace(measurement(), fingerprint=other.fingerprint))
        assert store.begin_stretch(DRIFTED) == 0
        assert len(store.measurements()) == 1

    def test_is_one_transaction_with_what_it_takes_back(self, store):
        _, requests = asked(store, devices=["cpu1"])
        store.record(requests[0], measurement())
        controlled(store, 1.0)
        database.rows(
            store,
            """CREATE TRIGGER broken BEFORE UPDATE OF invalidated ON measurements
               BEGIN SELECT RAISE(ABORT, 'broken off'); END""",
        )
        with pytest.raises(StoreError, match="broken off"):
            store.begin_stretch(DRIFTED, Baseline({SERIES: (0.5,)}))
        assert store.stretches("cpu1") == []
        assert store.baselines("cpu1")[FACTS.fingerprint].controls == {SERIES: (1.0,)}
        assert len(store.measurements()) == 1


class TestMeasuredAgain:
    WIDE, NARROW = (
        replace(
            measurement(device_s=device_s),
            blocks=tuple(
                replace(block, samples_s=(latency_s,) * 3, rejected=None)
                for block, latency_s in zip(measurement().blocks, (0.001, second_s), strict=True)
            ),
        )
        for device_s, second_s in ((2.0, 0.0011), (3.0, 0.00101))
    )

    @pytest.fixture
    def request_of(self, store):
        name, requests = asked(store, devices=["cpu1"])
        return name, requests[0]

    def test_the_two_differ(self):
        assert 0 < self.NARROW.half_width < self.WIDE.half_width < 2

    @pytest.mark.parametrize("narrower_first", [False, True])
    def test_the_narrower_counts_whichever_came_first(self, store, request_of, narrower_first):
        name, request = request_of
        first, second = (self.WIDE, self.NARROW)[:: -1 if narrower_first else 1]
        store.record(request, first)
        assert store.record_again(request, second) is not narrower_first
        assert store.outcome(request) == self.NARROW
        assert store.measured(name) == [(request, self.NARROW)]
        assert database.column(store, "SELECT count(*) FROM samples") == [2]
        invalidated = "SELECT invalidated FROM measurements ORDER BY id"
        said = ["measured again, with a narrower interval", None]
        if narrower_first:
            said = [None, "measured again, with no narrower interval"]
        assert database.column(store, invalidated) == said

    @pytest.mark.parametrize("narrower_first", [False, True])
    def test_counts_stay_and_the_time_is_added(self, store, request_of, narrower_first):
        name, request = request_of
        first, second = (self.WIDE, self.NARROW)[:: -1 if narrower_first else 1]
        store.record(request, first)
        before = store.counts(name)
        store.record_again(request, second)
        assert store.counts(name) == before == {"cpu1": (1, 0), "pi": (0, 0)}
        assert len(store.pending(name)) == 1
        assert store.device_seconds(name) == 5.0
        assert store.campaign(name).measured == 1
        # What it cost, whichever of the two was given up.
        given_up_s = second.device_s if narrower_first else first.device_s
        assert store.measured_again(name, "cpu1")[1] == given_up_s
        assert store.measured_again(name, "pi") == (0, 0.0)

    def test_one_that_is_as_wide_does_not_count(self, store, request_of):
        _, request = request_of
        store.record(request, self.WIDE)
        assert not store.record_again(request, replace(self.WIDE, device_s=9.0))
        assert store.outcome(request).device_s == 2.0

    def test_one_counts_where_the_first_was_taken_back(self, store, request_of):
        name, request = request_of
        store.record(request, self.NARROW)
        store.invalidate("cpu1", "by hand")
        assert store.record_again(request, self.WIDE)
        assert store.outcome(request) == self.WIDE
        assert store.counts(name)["cpu1"] == (1, 0)
        sql = "SELECT invalidated FROM measurements ORDER BY id"
        assert database.column(store, sql) == ["by hand", None]

    def test_is_one_transaction(self, store, request_of):
        name, request = request_of
        store.record(request, self.WIDE)
        database.rows(
            store,
            """CREATE TRIGGER broken BEFORE INSERT ON samples
               BEGIN SELECT RAISE(ABORT, 'broken off'); END""",
        )
        with pytest.raises(StoreError, match="broken off"):
            store.record_again(request, self.NARROW)
        assert store.outcome(request) == self.WIDE
        assert store.counts(name)["cpu1"] == (1, 0)
        assert store.device_seconds(name) == 2.0
