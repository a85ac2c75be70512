"""`farm queue`: whose turn it is."""

from __future__ import annotations

import json

import pytest

from farm.core.hosts import ASKED_BY
from farm.farm import Farm
from farm.store import Holding, Store, device_thing

SMALL = ("launch", "--devices", "a", "--budget", "3", "--holdout", "3", "--executor", "inline")


def test_shows_who_has_a_device_and_who_waits_in_turn(farm, tmp_path, monkeypatch):
    with Store(tmp_path / "results") as store:
        assert farm("queue")[1] == "Nobody has or waits for a device.\n"
        for who, deadline in (("ann", None), ("ann", None), ("bob", None), ("eve", "2030-01-01")):
            monkeypatch.setenv(ASKED_BY, who)
            holding = Holding(store, "farm launch", deadline=deadline)
            claim = holding.ask(device_thing("a"))
            assert holding.has(claim) == (who == "ann" and store.leases()[-1].claim == 1)
        code, out, _ = farm("queue")
        assert code == 0
        assert [line.split()[:3] for line in out.splitlines()[1:]] == [
            ["a", "has", "it"],
            ["a", "1", "eve"],
            ["a", "2", "bob"],
            ["a", "3", "ann"],
        ]
        found = json.loads(farm("queue", "--json")[1])["claims"]
    assert [(one["claim"], one["turn"], one["granted"]) for one in found] == [
        *((1, 0, True), (4, 1, False)),
        *((3, 2, False), (2, 3, False)),
    ]
    assert all(one["since"] for one in found)


def test_a_deadline_is_kept_with_the_campaign_in_utc(farm, tmp_path):
    assert farm(*SMALL, "--deadline", "2h")[0] == 0
    assert farm(*SMALL, "--seed", "1", "--deadline", "2100-01-01T12:00+02:00")[0] == 0
    with Farm.open(tmp_path / "cluster.yaml").store() as store:
        first, second = (campaign.plan.deadline for campaign in store.campaigns())
        assert first.endswith("+00:00")
        assert second == "2100-01-01T10:00:00.000+00:00"
        assert {lease["deadline"] for lease in store._rows("SELECT deadline FROM leases")} >= {
            first,
            second,
        }


@pytest.mark.parametrize("wrong", ["soon", "2020-01-01", "0d"])
def test_a_deadline_that_is_none_begins_nothing(farm, tmp_path, wrong):
    code, _, err = farm(*SMALL, "--deadline", wrong)
    assert (code, "--deadline" in err) == (2, True)
    assert not (tmp_path / "results").exists()
