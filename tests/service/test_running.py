"""Campaigns that the service runs: launched, ended, and gone on with after a restart."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest

from farm.farm import Farm
from tests.conftest import FAKES
from tests.service.conftest import Served, running

pytestmark = pytest.mark.slow

SLOW = FAKES.replace('FakeAgent"}\n  odd', 'FakeAgent", slow_s: 0.2}\n  odd')
"""A device that can be stopped while it measures."""

SMALL = {"devices": ["a"], "budget": 4, "holdout": 3, "kernels": False}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    own = tmp_path_factory.mktemp("running")
    (own / "cluster.yaml").write_text(SLOW)
    return own


@pytest.fixture
def own(folder):
    with running(Farm.open(folder / "cluster.yaml")) as url:
        yield Served(url, folder)


def state(own, name):
    (found,) = [c for c in own("/v1/campaigns").json["campaigns"] if c["id"] == name]
    return found


def until(own, name, holds):
    """A campaign, once something holds of it."""
    deadline = time.monotonic() + 120
    while not holds(found := state(own, name)):
        assert time.monotonic() < deadline, (found, list(own.folder.rglob("*.log"))[-1].read_text())
        time.sleep(0.1)
    return found


def test_a_user_launches_and_others_may_not_end_it(own):
    ann, bob = own.token("ann", "user"), own.token("bob", "user")
    reader = own.token("eve", "reader")
    assert own("/v1/campaigns", SMALL, token=reader).status == 403
    reply = own("/v1/campaigns", SMALL, token=ann)
    name = reply.json["campaign"]
    assert (reply.status, name) == (201, "c1")
    done = until(own, name, lambda c: c["state"] == "done")
    assert (done["measured"], done["failed"]) == (7, 0)
    for token in (bob, reader):
        reply = own(f"/v1/campaigns/{name}/cancel", b"", token=token)
        assert (reply.status, reply.json["error"]) == (403, "NotAllowed")
    assert own("/v1/campaigns/c9/cancel", b"", token=ann).status == 404


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"devices": ["pi"]}, "no device 'pi'"),
        ({"space": "onnx:/etc"}, "reads no folders"),
        ({"space": "nb301"}, "no search space 'nb301'"),
        ({"budget": 0}, "greater than or equal to 1"),
        ({"select": "best"}, "best"),
        ({"shell": "rm"}, "Extra inputs"),
    ],
)
def test_what_cannot_be_launched_is_not_stored(served, wrong, words):
    reply = served("/v1/campaigns", {**SMALL, **wrong})
    assert reply.status in (404, 422)
    assert words in reply.json["message"]
    assert len(served("/v1/campaigns").json["campaigns"]) == 1


def test_a_form_launches_and_says_what_is_wrong(own):
    def send(**said):
        data = urlencode(said, doseq=True).encode()
        return own("/launch", data, content_type="application/x-www-form-urlencoded")

    by = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M")
    form = {"space": "nb201", "devices": ["a"], "budget": 4, "holdout": 3, "deadline": by}
    with ThreadPoolExecutor(2) as browsers:
        both = list(browsers.map(lambda seed: send(**form, seed=seed), (1, 2)))
    assert [reply.status for reply in both] == [200, 200]  # each led to its campaign's page
    assert all("of nb201 measured" in reply.text for reply in both)
    names = [re.search("<h1>Campaign (c[0-9]+)", reply.text)[1] for reply in both]
    assert len(set(names)) == 2
    with own.farm.store() as store:
        assert all(store.campaign(name).plan.deadline.startswith(by) for name in names)
    wrong = send(space="nb201", budget="many")
    assert wrong.status == 422
    assert "devices: List should have at least 1 item" in wrong.text
    assert 'value="many"' in wrong.text
    late = send(**{**form, "deadline": "2020-01-01T00:00"})
    assert (late.status, "is over; name a later one" in late.text) == (422, True)
    for name in names:
        until(own, name, lambda c: c["state"] == "done")


def test_after_a_restart_it_goes_on_and_is_ended(folder):
    farm = Farm.open(folder / "cluster.yaml")
    asked = {**SMALL, "devices": ["b"], "budget": 60, "seed": 2}
    with running(farm) as url:
        own = Served(url, folder)
        name = own("/v1/campaigns", asked).json["campaign"]
        before = until(own, name, lambda c: c["measured"] >= 1)["measured"]
    with running(farm) as url:
        own = Served(url, folder)
        found = until(own, name, lambda c: c["measured"] > before and c["run_by"])
        assert found["state"] == "unfinished"
        assert own(f"/v1/campaigns/{name}/cancel", b"").json == {"campaign": name}
        until(own, name, lambda c: c["run_by"] is None)
        assert state(own, name)["state"] == "cancelled"
    with farm.store() as store:
        requests = [request for request, _ in store.measured(name)]
        assert len(requests) == len(set(requests))
