"""A measurement that is several requests' outcome."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from farm.campaign.planning import Launch
from farm.farm import Farm
from farm.store import Store

CLUSTER = 'devices: {a: {kind: "tests.fakes:FakeAgent"}}\n'


@pytest.fixture
def farm(tmp_path: Path) -> Farm:
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    return Farm.open(tmp_path / "cluster.yaml")


def launched(farm: Farm, **options: object) -> dict[str, object]:
    asked = Launch(**{"space": "nb201", "devices": ["a"], "budget": 4, "holdout": 2, **options})  # type: ignore[arg-type]
    return farm.launch(asked, "inline").to_json()


@pytest.fixture
def store(farm: Farm) -> Iterator[Store]:
    """With two campaigns that want the same networks."""
    launched(farm)
    launched(farm)
    with farm.store() as store:
        yield store


def test_is_measured_once_and_counts_for_both(store: Store) -> None:
    assert [c.measured for c in store.campaigns()] == [6, 6]
    assert len(store.measurements()) == 6
    assert store.device_seconds("c2") == 0
    assert store.reused("c2") == {"a": 6}
    first, second = (
        {(r.network, r.purpose): m for r, m in store.measured(name)} for name in ("c1", "c2")
    )
    assert first == second


def test_is_told_once_where_no_campaign_is_named(store: Store) -> None:
    assert len(store.measurements(purpose="learn")) == 4


def test_that_counts_no_more_is_wanted_by_both(store: Store) -> None:
    store.invalidate("a", "by a test")
    assert [c.state for c in store.campaigns()] == ["unfinished", "unfinished"]
    assert (len(store.pending("c1")), len(store.pending("c2"))) == (6, 6)
    assert store.counts("c2") == {"a": (0, 0)}


@pytest.mark.parametrize("campaign", ["c1", "c2"])
def test_measured_again_stays_the_outcome_of_both(store: Store, campaign: str) -> None:
    request, measurement = store.measured(campaign, "learn")[0]
    assert not store.pending("c1")
    better = store.record_again(request, measurement)
    assert not better  # it is as wide
    assert [c.measured for c in store.campaigns()] == [6, 6]


def test_a_narrower_one_takes_its_place_for_both(farm: Farm, store: Store) -> None:
    store.invalidate("a", "by a test")
    farm.resume("c1", "inline")
    farm.resume("c2", "inline")
    assert [c.state for c in store.campaigns()] == ["done", "done"]
    assert all(count == (6, 0) for name in ("c1", "c2") for count in store.counts(name).values())


def test_a_larger_budget_measures_what_is_missing(farm: Farm, store: Store) -> None:
    said = launched(farm, budget=7)
    assert (said["requested"], said["measured"]) == (9, 9)
    assert store.reused("c3") == {"a": 6}
    assert len(store.measurements()) == 9


def test_fresh_measures_all(farm: Farm, store: Store) -> None:
    launched(farm, fresh=True)
    assert store.reused("c3") == {}
    assert len(store.measurements()) == 12


def test_a_repetition_has_the_same_networks_and_none_of_the_measurements(
    farm: Farm, store: Store
) -> None:
    repeated = farm.repeat("c2", "inline")
    assert repeated.campaign.state == "done"
    wanted = {(r.network, r.purpose) for r in store.requests("c1")}
    assert {(r.network, r.purpose) for r in store.requests("c3")} == wanted
    assert store.reused("c3") == {}
