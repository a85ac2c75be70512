"""Devices that are disturbed in mid-campaign: each is found out, and none is lost."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from farm import Ask, Launch
from farm.campaign import causes
from farm.core.errors import UsageError
from farm.devices import controls
from farm.farm import Farm
from farm.measurement.record import Measurement
from farm.measurement.spec import MeasureSpec
from farm.prediction import selection
from farm.store import Store
from tests import database
from tests.fakes import FakeAgent, FakeOptions, fake_latency_s

ALWAYS = Ask(measure="always")

CLUSTER = """\
store: results
references: [a]
measure: {{timeout_s: 0.2}}
controls: {{every: 1, pause_s: 0}}
devices:
  a: {{kind: "tests.fakes:FakeAgent"{options}}}
  b: {{kind: "tests.fakes:FakeAgent"}}
"""

FAKE_NOISE = 0.005
"""The fastest of the fake's samples are so much slower than its latency."""

BEGIN = 10
"""Sessions before a disturbance begins: with the third group, which has no control networks."""


@pytest.fixture(autouse=True)
def few_candidates(monkeypatch):
    """What is chosen is not looked at here."""
    monkeypatch.setattr(selection, "POOL", 100)


def farm_of(folder: Path, options: str = "", **replaced: str) -> Farm:
    text = CLUSTER.format(options=f", {options}" if options else "")
    for old, new in replaced.items():
        text = text.replace(old, new)
    (folder / "cluster.yaml").write_text(text)
    return Farm.open(folder / "cluster.yaml")


def launch(farm: Farm, budget: int = 40, devices=("a",), watch=lambda _: None):
    """All at one precision, so that groups are of eight."""
    asked = Launch(
        space="nb201",
        devices=list(devices),
        budget=budget,
        holdout=4,
        kernels=False,
        precision=MeasureSpec.half_width,
    )
    return farm.launch(asked, "inline", watch)


def invalidated(farm: Farm) -> list[str]:
    sql = "SELECT invalidated FROM measurements WHERE invalidated IS NOT NULL"
    with farm.store() as store:
        return database.column(store, sql)


def held(measurements: list[Measurement]) -> float:
    """Share of the intervals that hold the latency of the undisturbed device."""
    holds = [
        m.interval_s[0] * (1 - FAKE_NOISE)
        <= fake_latency_s(m.network.code, FakeOptions())
        <= m.interval_s[1]
        for m in measurements
    ]
    return sum(holds) / len(holds)


def errors(measurements: list[Measurement], options: FakeOptions | None = None) -> list[float]:
    """How far off the undisturbed device each is, relatively."""
    of = options or FakeOptions()
    return [abs(m.latency_s / fake_latency_s(m.network.code, of) - 1) for m in measurements]


def trusted(store: Store) -> list[Measurement]:
    return [m for m in store.measurements(device="a") if m.verdict == "ok"]


class TestCalm:
    def test_each_batch_has_controls(self, tmp_path):
        farm = farm_of(tmp_path)
        summary = launch(farm)
        assert (summary.campaign.state, summary.campaign.requested) == ("done", 44)
        assert summary.quarantined == {}
        with farm.store() as store:
            purposes = [
                purpose == "control"
                for purpose in database.column(
                    store,
                    "SELECT purpose FROM measurements JOIN requests ON requests.id = request "
                    "ORDER BY measurements.id",
                )
            ]
            rounds = store.controls("a", controls.NETWORKS, 5, 64)
            assert [e.decision for e in store.revisions("a")] == ["first"]
            assert store.builds("c1") == (0, 0)
        batch = [False] * 8 + [True] * 2
        assert purposes[:20] == 2 * batch
        assert purposes[-1]
        assert purposes.count(True) == 2 * len(rounds) == 2 * 6
        assert purposes.count(False) == 44

    def test_devices_that_always_say_the_same_have_none(self, tmp_path, monkeypatch):
        real = FakeAgent.facts
        monkeypatch.setattr(FakeAgent, "facts", lambda self: replace(real(self), exact=True))
        farm = farm_of(tmp_path)
        launch(farm, 4)
        with farm.store() as store:
            assert store.measurements(purpose="control") == []

    @pytest.mark.parametrize("policy", ["every: 0", "every: 1, pause_s: 0"])
    def test_are_switched_off_for_all_or_for_one(self, tmp_path, policy):
        farm = farm_of(tmp_path, "controls: {every: 0}", **{"every: 1, pause_s: 0": policy})
        launch(farm, 4, ("a", "b"))
        with farm.store() as store:
            assert store.measurements(purpose="control", device="a") == []
            on_b = store.measurements(purpose="control", device="b")
            assert (on_b == []) == (policy == "every: 0")

    def test_a_device_that_cannot_measure_them_has_none(self, tmp_path):
        codes = str([network.code for network in controls.NETWORKS])
        farm = farm_of(tmp_path, f"fault: wrong_output, fault_codes: {codes}")
        summary = launch(farm, 12)
        assert (summary.campaign.state, summary.campaign.failed) == ("done", 0)
        with farm.store() as store:
            assert store.quarantines("a") == []
            assert database.column(store, "SELECT kind FROM failures") == ["wrong_output"] * 2


@pytest.mark.slow
def test_a_device_that_is_lost_in_quarantine_is_left_there_in_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(causes, "BACK_OFF_S", 0.001)
    farm = farm_of(tmp_path)
    launch(farm, watch=lambda progress: progress.devices["a"].ended and farm.cancel("c1"))
    with Store(farm.config.store) as store:
        assert store.pending("c1")
        store.quarantine("a", "by a test")
    summary = farm_of(tmp_path, "fault: lost").resume(executor="inline")
    assert summary.campaign.state == "unfinished"
    assert summary.quarantined == {"a": "by a test"}
    assert not summary.failures


@pytest.mark.slow
def test_a_campaign_that_is_cancelled_waits_for_no_device_that_was_lost(tmp_path):
    farm = farm_of(tmp_path, "fault: lost")

    def cancel_once_it_is(progress):
        if any("a is lost" in event for event in progress.events):
            farm.cancel("c1")

    assert launch(farm, watch=cancel_once_it_is).campaign.state == "cancelled"


class TestDisturbed:
    """Whatever comes over a device that answers: each request has an outcome whose interval holds
    the undisturbed latency, and nothing goes backwards."""

    @pytest.mark.parametrize("sessions", [None, 12], ids=["for good", "for a while"])
    @pytest.mark.parametrize("disturb", ["throttle", "slow", "drift", "flip", "spike", "busy"])
    def test_every_request_gets_an_outcome(self, tmp_path, disturb, sessions):
        lasting = "" if sessions is None else f", disturb_sessions: {sessions}"
        farm = farm_of(tmp_path, f"disturb: {disturb}, disturb_after: {BEGIN}{lasting}")
        seen = []
        summary = launch(farm, watch=seen.append)
        assert (summary.campaign.state, summary.campaign.measured) == ("done", 44)
        assert summary.quarantined == {}
        ended = [progress.devices["a"].ended for progress in seen]
        assert ended == sorted(ended)
        with farm.store() as store:
            assert held(store.measurements(device="a")) >= 0.9
            assert max(errors(trusted(store))) < 0.02

    def test_from_the_first_on_its_baseline_moves_once_it_is_well(self, tmp_path):
        farm = farm_of(tmp_path, "disturb: slow, disturb_sessions: 30")
        seen = []
        summary = launch(farm, 80, watch=seen.append)
        assert (summary.campaign.state, summary.campaign.measured) == ("done", 84)
        with farm.store() as store:
            assert held(store.measurements(device="a")) >= 0.9
            (stretch,) = store.stretches("a")
        assert stretch.shift < -0.2
        said = [event for progress in seen for event in progress.events]
        assert said[0] == (
            "a drifted by -23%: its baseline was taken while it was busy, and all is told at the "
            "new one"
        )

    def test_drift_is_said_once_and_begins_a_stretch(self, tmp_path):
        farm = farm_of(tmp_path, f"disturb: slow, disturb_after: {BEGIN}")
        seen = []
        launch(farm, watch=seen.append)
        said = [event for progress in seen for event in progress.events]
        assert said == [
            "a drifted by +30%: it is +30% off its baseline; that is divided out, for wider "
            "intervals"
        ]
        with farm.store() as store:
            (stretch,) = store.stretches("a")
            (shown,) = farm.health(store.facts("a")[-1]).stretches
            assert stretch == shown
            before = [m for m in trusted(store) if m.slowdown < 1.1]
            after = [m for m in store.measurements(device="a") if m.slowdown > 1.2]
        assert before
        assert after
        assert min(m.half_width for m in after) > 2 * max(m.half_width for m in before)

    def test_what_was_measured_without_controls_meanwhile_is_measured_again(self, tmp_path):
        farm = farm_of(
            tmp_path, f"disturb: slow, disturb_after: {BEGIN}", **{"every: 1": "every: 24"}
        )
        seen = []
        summary = launch(farm, watch=seen.append)
        assert (summary.campaign.state, summary.campaign.measured) == ("done", 44)
        said = [event for progress in seen for event in progress.events]
        assert len(said) == 1
        assert said[0].startswith("a drifted by +30%")
        assert said[0].endswith("16 networks are measured again")
        shown = [progress.devices["a"].ended for progress in seen]
        assert shown == sorted(shown)
        assert len(invalidated(farm)) == 16

    @pytest.mark.parametrize(
        ("disturb", "verdict"),
        [("throttle", "throttled"), ("busy", "contended"), ("lie", "unresolved")],
    )
    def test_is_called_by_its_name_where_the_device_shows_it(self, tmp_path, disturb, verdict):
        """It begins within the third group; there are no control networks to tell it by."""
        farm = farm_of(
            tmp_path, f"disturb: {disturb}, disturb_after: {BEGIN + 2}", **{"every: 1": "every: 0"}
        )
        launch(farm)
        with farm.store() as store:
            found = Counter(m.verdict for m in store.measurements(device="a"))
        assert found["ok"] >= 16
        assert found[verdict] >= 8

    def test_what_it_was_disturbed_in_is_measured_again_once_it_is_left_alone(self, tmp_path):
        farm = farm_of(tmp_path, f"disturb: throttle, disturb_after: {BEGIN}, disturb_sessions: 5")
        seen = []
        summary = launch(farm, watch=seen.append)
        assert (summary.campaign.state, summary.campaign.measured) == ("done", 44)
        said = [event for progress in seen for event in progress.events]
        assert said[-1] == (
            "a is left alone now: 8 networks that it measured while it was disturbed are measured "
            "again"
        )
        assert [p.devices["a"].again for p in seen if p.devices["a"].again] == [8]
        assert summary.verdicts["a"]["throttled"] == 0
        with farm.store() as store:
            spent_s = store.device_seconds("c1")
            count, again_s = store.measured_again("c1", "a")
            assert summary.again["a"] == (count, again_s)
            assert (count, 0 < again_s <= 0.3 * spent_s) == (8, True)
            assert held(store.measurements(device="a")) >= 0.9
        assert set(invalidated(farm)) == {"measured again, with a narrower interval"}

    def test_a_device_that_stays_busy_is_not_tried_again_and_again(self, tmp_path):
        farm = farm_of(tmp_path, "disturb: busy")
        seen = []
        assert launch(farm, watch=seen.append).campaign.state == "done"
        said = [event for progress in seen for event in progress.events]
        assert len(said) <= 2  # until it is known how much it scatters
        assert all(event.startswith("a drifted by ") for event in said)
        assert invalidated(farm) == []

    def test_what_it_was_disturbed_in_is_measured_again_where_that_is_asked_for(self, tmp_path):
        off = {"every: 1": "every: 0"}
        launch(farm_of(tmp_path, f"disturb: busy, disturb_after: {BEGIN + 2}", **off))
        well = farm_of(tmp_path, **off)
        with well.store() as store:
            before = {m.network: m for m in store.measurements(device="a")}
        with pytest.raises(UsageError, match="no verdict is called 'bad'; there are ok, noisy"):
            well.resume(executor="inline", again=["contended", "bad"])
        assert well.resume(executor="inline").campaign.measured == 44
        with well.store() as store:
            assert {m.network: m for m in store.measurements(device="a")} == before
        summary = well.resume(executor="inline", again=["contended"])
        assert (summary.campaign.state, summary.campaign.measured) == ("done", 44)
        assert not summary.verdicts["a"]["contended"]
        with well.store() as store:
            after = {m.network: m for m in store.measurements(device="a")}
            assert after.keys() == before.keys()
            for network, found in before.items():
                assert (after[network] == found) == (found.verdict != "contended")
        assert set(invalidated(well)) == {"measured again, with a narrower interval"}

    def test_a_clock_that_jumps_is_never_ok(self, tmp_path):
        farm = farm_of(tmp_path, f"disturb: jump, disturb_after: {BEGIN}")
        summary = launch(farm)
        assert summary.campaign.state == "done"
        with farm.store() as store:
            found = Counter(m.verdict for m in store.measurements(device="a"))
        assert found["unresolved"] >= 20
        assert found["ok"] + found["unresolved"] == 44

    def test_frozen_it_is_left_alone_before_all_networks_fail(self, tmp_path):
        farm = farm_of(tmp_path, f"disturb: freeze, disturb_after: {BEGIN}")
        summary = launch(farm)
        assert summary.campaign.state == "unfinished"
        assert "its control networks fail: timeout: no answer" in summary.quarantined["a"]
        assert not summary.failures  # what its networks have to do with it is not known

    def test_frozen_it_is_held_until_a_person_released_it(self, tmp_path):
        farm = farm_of(tmp_path, f"disturb: freeze, disturb_after: {BEGIN}")
        assert launch(farm).campaign.state == "unfinished"
        repaired = farm_of(tmp_path)
        with repaired.store() as store:
            store.release("a")
        summary = repaired.resume(executor="inline")
        assert (summary.campaign.state, summary.quarantined) == ("done", {})

    def test_frozen_for_a_while_it_goes_on_by_itself(self, tmp_path):
        farm = farm_of(tmp_path, f"disturb: freeze, disturb_after: {BEGIN}, disturb_sessions: 3")
        summary = launch(farm)
        assert (summary.campaign.state, summary.quarantined) == ("done", {})

    def test_does_not_hold_the_others_up(self, tmp_path):
        farm = farm_of(tmp_path, f"disturb: freeze, disturb_after: {BEGIN}")
        summary = launch(farm, devices=("a", "b"))
        assert summary.counts["b"] == (44, 0)
        assert summary.counts["a"][0] < 44
        assert summary.quarantined.keys() == {"a"}

    def test_held_by_a_person_it_measures_nothing(self, tmp_path):
        farm = farm_of(tmp_path)
        launch(farm, 4)
        with farm.store() as store:
            store.quarantine("a", "its fan is broken", manual=True)
        summary = launch(farm, 4, ("a", "b"))
        assert summary.counts == {"a": (0, 0), "b": (8, 0)}
        assert summary.quarantined == {"a": "its fan is broken"}
        (entry,) = farm.hwl("nb201/" + controls.NETWORKS[0].code, ALWAYS).references
        assert entry.reason.startswith("quarantined: its fan is broken")


@pytest.mark.slow
class TestKilled:
    @pytest.mark.parametrize("count", range(11, 25, 3))
    def test_at_any_other_moment_it_goes_on(self, tmp_path, count):
        """Killed after so many outcomes, the first control networks among them, by a device that is
        slow for some sessions before and for some after."""
        farm = farm_of(tmp_path, "disturb: slow, disturb_after: 5")
        with pytest.raises(KeyboardInterrupt):
            launch_and_die(farm, count)
        summary = farm_of(tmp_path, "disturb: slow, disturb_sessions: 6").resume(executor="inline")
        assert (summary.campaign.state, summary.campaign.measured) == ("done", 24)
        with farm.store() as store:
            assert max(errors(trusted(store))) < 0.02
            assert set(Counter(request.id for request, _ in store.measured()).values()) == {1}


def launch_and_die(farm: Farm, outcomes: int) -> None:
    real, left = Store.record, [outcomes]

    def record(self, *words):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return real(self, *words)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Store, "record", record)
        launch(farm, 20)


@pytest.mark.slow
class TestRevisions:
    def test_a_governor_that_changes_is_seen_and_rebased(self, tmp_path):
        farm = farm_of(tmp_path, f"governor_after: {BEGIN}, powersave: 1.5")
        summary = launch(farm)
        assert (summary.campaign.state, summary.quarantined) == ("done", {})
        with farm.store() as store:
            first, second = store.revisions("a")
            assert (first.decision, second.decision) == ("first", "rebased")
            assert second.factor == pytest.approx(1.5, rel=0.01)
            values = store.as_now(store.measurements())
            assert len(values) == 44
            slow = FakeOptions(latency_s=1.5e-3)
            assert max(errors(values, slow)) < 0.02

    def test_a_governor_that_changes_nothing_leaves_results_valid(self, tmp_path):
        farm = farm_of(tmp_path, f"governor_after: {BEGIN}")
        launch(farm)
        with farm.store() as store:
            first, second = store.revisions("a")
            assert (first.decision, second.decision) == ("first", "same")
            baseline = store.baselines("a")
            levels = (baseline[e.fingerprint].levels_s for e in (first, second))
            old_s, new_s = (np.array([s for _, s in sorted(level.items())]) for level in levels)
            assert second.factor == pytest.approx(np.exp(np.log(new_s / old_s).mean()))
            assert len(store.as_now(store.measurements())) == 44

    def test_a_governor_that_mixes_the_order_up_invalidates_what_was(self, tmp_path):
        farm = farm_of(tmp_path, f"governor_after: {BEGIN}, powersave_uneven: 0.5")
        summary = launch(farm)
        with farm.store() as store:
            assert [e.decision for e in store.revisions("a")] == ["first", "invalidated"]
            now = store.as_now(store.measurements())
            assert 8 <= len(now) < 44
            assert {m.fingerprint for m in now} == {store.facts("a")[-1].fingerprint}
        assert summary.campaign.measured == 44

    def test_nothing_is_lost_where_controls_are_off(self, tmp_path):
        farm = farm_of(tmp_path, f"governor_after: {BEGIN}, controls: {{every: 0}}")
        assert launch(farm).campaign.state == "done"
        with farm.store() as store:
            assert store.revisions("a") == []


class TestQuery:
    def test_a_network_that_is_asked_for_is_measured_beside_controls(self, tmp_path):
        farm = farm_of(tmp_path)
        (entry,) = farm.hwl("nb201/" + controls.NETWORKS[0].code, ALWAYS).references
        assert entry.source == "measured"
        with farm.store() as store:
            assert len(store.measurements(purpose="control")) == 2
            (found,) = store.measurements(purpose="query")
        assert {len(control.blocks_s) for control in found.controls} == {len(found.warmup_s)}

    def test_on_a_device_that_drifted_it_is_told_at_the_baseline(self, tmp_path):
        launch(farm_of(tmp_path), 12)
        ill = farm_of(tmp_path, "disturb: throttle")
        (entry,) = ill.hwl("nb201/" + controls.NETWORKS[0].code, ALWAYS).references
        assert entry.verdict == "throttled"
        with ill.store() as store:
            (found,) = store.measurements(purpose="query")
        assert errors([found])[0] < 0.02
