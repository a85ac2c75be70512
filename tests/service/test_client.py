"""The client gives what the farm itself does, and raises the farm's own errors."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from farm import Client, Launch
from farm.core.errors import (
    NotAllowed,
    NotSignedIn,
    ServiceError,
    TooBusy,
    UnknownName,
    UsageError,
)
from farm.farm import Farm
from tests.conftest import FAKES
from tests.service.conftest import running
from tests.service.test_api import CELL

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def client(served) -> Client:
    return Client(served.url, served.token("client", "user"))


def test_predictions_and_encodings_are_the_farms(served, client):
    with served.farm.store() as store:
        asked = [CELL, store.measurements(device="a")[0].network.id]
    own, found = served.farm.predict(asked, "a"), client.predict(asked, "a")
    assert found.networks == own.networks
    assert found.to_json() == own.to_json()
    assert np.array_equal(found.high_s, own.high_s)
    some = client.predict([*asked, "nonsense"], "a", strict=False)
    assert list(some.answers.errors) == [2]
    with pytest.raises(UsageError, match="row 3 of 3: "):
        client.predict([*asked, "nonsense"], "a")

    own, found = served.farm.hwl(asked), client.hwl(asked)
    assert (found.networks, found.devices, found.version) == (
        own.networks,
        own.references.devices,
        own.version,
    )
    for name in ("values", "std", "latency_s", "source"):
        assert np.array_equal(getattr(found, name), getattr(own, name), equal_nan=name != "source")


def test_lists(served, client):
    assert [one["name"] for one in client.devices()] == ["a", "b", "odd"]
    assert client.device("a")["measured"] == {"nb201": 9}
    assert [one["id"] for one in client.campaigns()] == ["c1"]
    assert client.campaign()["campaign"] == "c1"
    assert client.choices() == [one.to_json() for one in served.farm.choices()]
    assert [one["device"] for one in client.network(CELL)] == ["a", "b", "odd"]
    assert client.queue() == []


def until(holds):
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_campaign_is_launched_and_ended(served, tmp_path):
    (tmp_path / "cluster.yaml").write_text(FAKES)
    asked = Launch(space="nb201", devices=["a"], budget=1000, kernels=False)
    with running(Farm.open(tmp_path / "cluster.yaml")) as url:
        own = replace(served, url=url, folder=tmp_path)
        ann = Client(url, own.token("ann", "user"))
        assert ann.launch(asked) == "c1"
        assert ann.cancel("c1") == "c1"  # before its process has begun
        assert ann.campaigns()[0]["run_by"] is None
        assert ann.launch(asked) == "c2"
        until(lambda: ann.campaigns()[1]["measured"])
        assert ann.cancel("c2") == "c2"
        until(lambda: ann.campaigns()[1]["run_by"] is None)
        assert [one["state"] for one in ann.campaigns()] == ["cancelled", "cancelled"]
        with own.farm.store() as store:
            assert not store.waiting()  # for what was ended nothing waits
        with pytest.raises(NotAllowed, match="role user"):
            Client(url, own.token("eve", "reader")).launch(asked)
        with pytest.raises(UsageError, match="reads no files"):
            ann.launch(replace(asked, shape="1,3,8,8"))


def test_errors_are_the_farms(served, client):
    with pytest.raises(UnknownName, match=r"^no device 'pi'; "):
        client.device("pi")
    with pytest.raises(UnknownName, match="no campaign 'c9'"):
        client.cancel("c9")
    with pytest.raises(UsageError, match="are a list"):
        client.predict(CELL, "a")
    with pytest.raises(UsageError, match="NAS-Bench-201 cell"):
        client.hwl(["nb201/x"])
    with pytest.raises((NotSignedIn, TooBusy)):
        Client(served.url, "guess").devices()
    with pytest.raises(ServiceError, match=r"does not answer.*`farm serve`"):
        Client("http://127.0.0.1:1", "x").devices()


@pytest.mark.parametrize("url", ["file:///etc/passwd", "127.0.0.1:8765", "http://", "http://a/b"])
def test_what_is_no_address_is_refused(url):
    with pytest.raises(UsageError, match="a service's address"):
        Client(url, "x")


def test_a_token_is_one_word_and_is_not_shown(client):
    assert client.token not in repr(client)
    with pytest.raises(UsageError, match="a token is one word"):
        Client("http://127.0.0.1:1", "x\r\nHost: y")
