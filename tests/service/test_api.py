"""What programs ask: the same answers as the commands', and errors in one shape."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from farm.campaign.summary import summarise
from farm.service.memory import Memory

pytestmark = pytest.mark.slow

CELL = "nb201/|none~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|"


@pytest.fixture(scope="module")
def measured(served) -> str:
    """A network that was measured on `a`."""
    with served.farm.store() as store:
        return store.measurements(device="a")[0].network.id


def test_a_campaign_is_what_the_command_prints(served):
    with served.farm.store() as store:
        printed = summarise(store, "c1", served.farm.config).to_json()
    assert served("/v1/campaigns/c1").json == printed
    assert served("/v1/campaigns/latest").json == printed


def test_lists(served):
    devices = served("/v1/devices").json["devices"]
    assert [one["name"] for one in devices] == ["a", "b", "odd"]
    assert sum(devices[0]["verdicts_day"].values()) >= 9
    assert devices[2]["measured_at"] is None
    (campaign,) = served("/v1/campaigns").json["campaigns"]
    assert (campaign["id"], campaign["state"], campaign["measured"]) == ("c1", "done", 18)
    assert served("/v1/queue").json == {"claims": []}


def test_a_device_is_told_as_it_was_seen_last(served):
    found = served("/v1/devices/a").json
    assert found["facts"]["fingerprint"]
    assert found["health"]["controls"]
    assert found["measured"] == {"nb201": 9}
    never = served("/v1/devices/odd").json
    assert never["facts"] is never["health"] is None


def test_a_network_on_every_device(served, measured):
    found = served(f"/v1/network?network={quote(measured)}").json
    a, b, odd = found["devices"]
    assert a["source"] == "cached"
    assert a["low_s"] < a["latency_s"] < a["high_s"]
    assert b["latency_s"]
    assert "nothing was measured on odd yet" in odd["error"]


def test_predictions_and_encodings_are_the_farms(served):
    farm = served.farm
    asked = [CELL, "nonsense"]
    found = served("/v1/predict", {"device": "a", "networks": asked}).json
    assert found == farm.predict(asked, "a", strict=False).to_json()
    assert (
        served(f"/v1/predict?device=a&network={quote(CELL)}").json
        == farm.predict([CELL], "a").to_json()
    )
    found = served("/v1/hwl", {"networks": asked}).json
    assert found == {"networks": list(farm.hwl_each(asked).lines())}


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/v1/devices/pi", 404, "no device 'pi'"),
        ("/v1/campaigns/c9", 404, "no campaign 'c9'"),
        ("/v1/network?network=nb201/x", 422, "NAS-Bench-201 cell"),
        ("/v1/network?network=/etc/model.onnx", 422, "reads no files"),
        ("/v1/predict?device=a&network=%20m.onnx%20", 422, "reads no files"),
        ("/v1/predict?device=odd&network=" + quote(CELL), 422, "nothing was measured on odd"),
        ("/v1/predict?device=a", 422, "query.network: Field required"),
        ("/v1/nothing", 404, "Not Found"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(served, path, status, words):
    reply = served(path)
    assert reply.status == status
    assert reply.json.keys() == {"error", "message"}
    assert words in reply.json["message"]
    assert "\n" not in reply.json["message"]


def test_no_file_is_opened_for_who_asks(served, tmp_path, measured):
    (tmp_path / "m.onnx").write_bytes(b"secret")
    reply = served("/v1/predict", {"device": "a", "networks": [measured, f"{tmp_path}/m.onnx"]})
    assert reply.status == 422
    assert "secret" not in reply.text


def test_answers_are_remembered_while_they_hold():
    memory = Memory(most=2)
    memory.keep("a", 1, "first")
    assert memory.recall("a", 1) == "first"
    assert memory.recall("a", 2) is None
    memory.keep("b", 1, "second")
    memory.recall("a", 1)
    memory.keep("c", 1, "third")
    assert [memory.recall(key, 1) for key in "abc"] == ["first", None, "third"]


def test_what_is_remembered_has_room_for_so_much():
    memory = Memory(most_bytes=4000)
    each = {key: bytes([key]) * 300 for key in range(4)}
    for key, answer in each.items():
        memory.keep(key, 1, answer)
    memory.keep("large", 1, bytes(400))
    assert memory.recall("large", 1) is None  # it would leave no room for others
    kept = [key for key, answer in each.items() if memory.recall(key, 1) == answer]
    assert kept == [0, 1, 2, 3]
    memory.keep(4, 1, bytes(300))
    assert [memory.recall(key, 1) is None for key in range(5)] == [True, *[False] * 4]
