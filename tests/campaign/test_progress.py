"""Progress of a campaign: what is counted, and how often it is looked at."""

from __future__ import annotations

import pytest

from farm.campaign.planning import Launch
from farm.campaign.progress import Counts, Evidence, _with
from farm.farm import Farm
from farm.prediction.decisions import Learnt


def test_a_count_never_goes_down_and_says_what_is_done_again():
    counts = Counts(began=0)
    seen = [counts.of("", measured, 1, 30, 60.0) for measured in (15, 7, 11, 19)]
    assert [(s.ended, s.again) for s in seen] == [(16, 0), (16, 8), (16, 4), (20, 0)]


def test_the_pace_is_that_of_this_run():
    resumed = Counts(began=10).of("", 16, 0, 20, elapsed_s=120.0)
    assert resumed.rate_per_min == pytest.approx(3.0)
    assert resumed.left_s == pytest.approx(80.0)
    assert Counts(began=10).of("", 10, 0, 20, elapsed_s=5.0).left_s is None


def test_more_outcomes_than_wanted_are_no_overflow():
    found = Counts(0).of("", 12, 0, 10, 1.0)
    assert (found.wanted, found.left_s) == (12, 0.0)


def test_a_learning_curve_has_a_point_for_each_number_of_networks():
    curve = ()
    for networks, error in ((8, 0.2), (8, 0.15), (16, 0.1), (12, 0.5)):
        curve = _with(curve, Learnt(networks, error, None))
    assert [(point.networks, point.error_median) for point in curve] == [(8, 0.15), (16, 0.1)]


@pytest.fixture
def stored(tmp_path):
    """A store with a campaign of nine networks on one device."""
    config = tmp_path / "cluster.yaml"
    config.write_text('devices: {a: {kind: "tests.fakes:FakeAgent"}}')
    farm = Farm.open(config)
    farm.launch(Launch(space="nb201", devices=["a"], budget=5, holdout=4), executor="inline")
    with farm.store() as store:
        yield store


def test_evidence_has_the_verdicts_that_are_stored(stored):
    evidence = Evidence(stored, "c1", ["a"])
    assert evidence.verdicts["a"].total() == 0
    evidence.look("a", 9)
    assert evidence.verdicts["a"].total() == 9


def test_a_decision_before_anything_is_known_is_no_point_of_a_curve(stored):
    evidence = Evidence(stored, "c1", ["a"])
    evidence.learn("a", Learnt(0, None, None))
    evidence.learn("a", Learnt(4, 0.2, 0.9))
    assert [point.networks for point in evidence.curves["a"]] == [4]
