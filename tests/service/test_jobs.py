"""Questions for which devices measure: what is known is answered at once, the rest by a job."""

from __future__ import annotations

import html
import re
from urllib.parse import urlencode

import pytest

from farm.farm import Farm
from tests.service.conftest import Served, running
from tests.service.test_api import CELL
from tests.sshd import sshd

pytestmark = pytest.mark.slow

FRESH = CELL.replace("none", "nor_conv_1x1", 1)
ASKED = {"device": "b", "networks": [FRESH, "nonsense"], "measure": "always"}


def test_what_is_known_comes_at_once_and_the_rest_when_it_is_measured(changing):
    ann, eve = changing.token("jobs-ann", "user"), changing.token("jobs-eve", "reader")
    first = changing("/v1/predict", ASKED, token=ann).json
    assert first["networks"][0]["source"] == "networks"
    assert "error" in first["networks"][1]
    job = first["job"]
    assert (job["state"], job["doing"], job["asked_by"]) == ("running", "farm predict", "jobs-ann")
    assert changing(f"/v1/jobs/{job['job']}/cancel", b"", token=eve).status == 403
    done = changing(f"/v1/jobs/{job['job']}?wait_s=60", token=eve).json
    assert (done["state"], done["answer"]["networks"][0]["source"]) == ("done", "measured")
    again = changing("/v1/hwl", {"networks": [FRESH], "measure": "missing", "wait_s": 60}).json
    assert again["job"]["state"] == "done"
    sources = [one["source"] for one in again["networks"][0]["references"]]
    assert sources == ["measured", "cached"]


def test_one_that_is_ended_has_no_answer(changing):
    job = changing("/v1/predict", ASKED).json["job"]["job"]
    ended = changing(f"/v1/jobs/{job}/cancel", b"").json
    assert (ended["state"], ended["answer"], ended["error"]) == ("failed", None, "FarmError")


@pytest.mark.parametrize(
    ("wrong", "status", "words"),
    [
        ({"networks": ["nonsense"]}, 422, "nonsense"),
        ({"networks": ["/etc/x.onnx"]}, 422, "reads no files"),
        ({"networks": ['"/etc/x.onnx"', "x\n/etc/x.onnx"]}, 422, "reads no files"),
        ({"device": "pi"}, 404, "no device 'pi'"),
        ({"max_error": 0.1}, 422, "needs --measure missing"),
        ({"measure": "perhaps"}, 422, "measure"),
        ({"wait_s": 3600}, 422, "wait_s"),
    ],
    ids=str,
)
def test_what_cannot_be_measured_begins_no_job(changing, wrong, status, words):
    reply = changing("/v1/predict", {**ASKED, **wrong})
    assert reply.status == status
    assert words in reply.json["message"]


def test_a_reader_measures_nothing_and_no_job_is_remembered_for_ever(changing):
    eve = changing.token("jobs-bob", "reader")
    assert changing("/v1/predict", ASKED, token=eve).status == 403
    reply = changing("/v1/jobs/q999")
    assert (reply.status, "what was measured is kept" in reply.json["message"]) == (404, True)


def filled_in(served, **said):
    data = urlencode(said).encode()
    return served("/add-device", data, content_type="application/x-www-form-urlencoded")


EMPTY = """\
store: results
measure: {warmup_s: 0.0, rounds: 2, block_s: 0.001, min_sessions: 1, max_sessions: 1}
devices:
  # the only one so far
  a: {kind: "tests.fakes:FakeAgent"}
"""


def test_a_device_over_ssh_is_added_by_the_form(tmp_path):
    (tmp_path / "cluster.yaml").write_text(EMPTY)
    (tmp_path / "sshd").mkdir()
    with sshd(tmp_path / "sshd") as server, running(Farm.open(tmp_path / "cluster.yaml")) as url:
        own, login = Served(url, tmp_path), {"host": server.address, "key": server.key}
        begun = filled_in(own, name="pi", fingerprint=server.host_key.fingerprint, **login)
        assert begun.headers["refresh"]  # the page looks again by itself
        job = re.search(r"Job (q\d+)", begun.text)[1]
        while (done := own(f"/v1/jobs/{job}?wait_s=20").json)["state"] == "running":
            pass
        assert done["state"] == "done", done["message"]
        assert done["answer"]["known"]["latency_s"] > 0
        assert "is in the farm" in own(f"/jobs/{job}").text
        assert [one["name"] for one in own("/v1/devices").json["devices"]] == ["a", "pi"]
        assert "fingerprint" in own("/devices/pi").text
    text = (tmp_path / "cluster.yaml").read_text()
    assert text.startswith(EMPTY + "  pi:\n    kind: ssh\n")
    assert str(server.host_key) in text


def test_an_admin_adds_a_device_by_a_form_which_says_what_is_wrong(changing):
    ann = changing.token("form-ann", "user")
    assert changing("/add-device", token=ann).status == 403

    def send(**said):
        return filled_in(changing, **said)

    told = {"name": "pi", "host": "me@127.0.0.1:1", "key": "/no/key"}
    wrong = send(**told)
    assert (wrong.status, "needs a fingerprint" in wrong.text) == (422, True)
    assert 'value="me@127.0.0.1:1"' in wrong.text
    assert send(**{**told, "name": "--help"}, fingerprint="x").status == 422
    begun = send(**told, fingerprint="SHA256:" + "A" * 43)  # led to the job's page
    assert (begun.status, "farm device" in begun.text) == (200, True)
    job = re.search(r"Job (q\d+)", begun.text)[1]
    done = changing(f"/v1/jobs/{job}?wait_s=60").json
    assert (done["state"], done["error"] is not None) == ("failed", True)
    assert "127.0.0.1" in done["message"]
    assert done["message"] in html.unescape(changing(f"/jobs/{job}").text)
    assert "pi" not in changing.farm.config.devices
