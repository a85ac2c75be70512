"""What Prometheus is told is what the store says."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML

from farm.campaign.summary import summarise
from farm.farm import Farm
from farm.store.lease import Owner, device_thing
from tests.conftest import FAKES
from tests.service.conftest import running

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def told(served):
    """By name, the value of each sample by its labels."""

    def read(own=served):
        found = {}
        for family in text_string_to_metric_families(own("/metrics").text):
            for sample in family.samples:
                found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
        return found

    return read


def test_what_is_told_is_what_the_store_says(served, told):
    reply = served("/metrics", token=served.token("prometheus", "reader"))
    assert reply.headers["Content-Type"].startswith("text/plain; version=")
    with served.farm.store() as store:
        last = store.last_measured("a")
        verdicts = {d: store.verdicts_since("1970")[d] for d in ("a", "b")}
        builds = store.builds("c1")
    for _ in range(2):  # what was counted is not counted again
        found = told()
        expected = {(d, v): n for d, own in verdicts.items() for v, n in own.items()}
        assert found["farm_measurements_total"] == expected
    assert found["farm_device_quarantined"] == {("a",): 0, ("b",): 0, ("odd",): 0}
    assert found["farm_device_held"] == {("a",): 0, ("b",): 0, ("odd",): 0}
    assert found["farm_device_up"] == {("a",): 1, ("b",): 1, ("odd",): 1}
    assert found["farm_device_spread_ratio"][("a",)] == pytest.approx(last.spread)
    assert found["farm_device_rejected_blocks_ratio"][("a",)] == last.disturbed
    assert found["farm_device_measured_timestamp_seconds"].keys() == {("a",), ("b",)}
    assert found["farm_campaigns"] == {("unfinished",): 0, ("done",): 1, ("cancelled",): 0}
    assert found["farm_builds"] == {("built",): builds[0], ("cache",): builds[1]}
    assert found["farm_queue_depth"] == {(): 0}


def test_how_far_off_predictions_were_is_told_once_it_is_known(served, told):
    deadline = time.monotonic() + 120
    while not (found := told().get("farm_device_prediction_error_ratio")):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    with served.farm.store() as store:
        judged = summarise(store, "c1", served.farm.config).judgements
    assert found == {(device,): pytest.approx(one.error_median) for device, one in judged.items()}


def test_what_changes_is_told_at_the_next_scrape(tmp_path, served, told):
    (tmp_path / "cluster.yaml").write_text(FAKES)
    farm = Farm.open(tmp_path / "cluster.yaml")
    with running(farm) as url, farm.store() as store:
        own = replace(served, url=url)
        assert told(own)["farm_device_quarantined"][("a",)] == 0
        store.quarantine("a", "too noisy", manual=True)
        for doing in ("first", "second"):
            claim = store.ask(Owner.here(doing), [device_thing("a")], 4e9)
            store.take(claim, 0.0)
        found = told(own)
    assert found["farm_device_quarantined"][("a",)] == 1
    assert found["farm_device_held"] == {("a",): 1, ("b",): 0, ("odd",): 0}
    assert found["farm_device_lease_age_seconds"].keys() == {("a",)}
    assert found["farm_queue_depth"] == {(): 1}


def test_a_program_without_a_token_is_told_so(served):
    reply = served("/metrics", token=None)
    assert (reply.status, reply.json["error"]) == (401, "NotSignedIn")


def test_the_examples_ask_for_what_there_is(served):
    told = re.findall(r"^# TYPE (\S+)", served("/metrics").text, flags=re.MULTILINE)
    rules = YAML(typ="safe").load(EXAMPLES / "alerts.yaml")["groups"][0]["rules"]
    panels = json.loads((EXAMPLES / "grafana.json").read_text())["panels"]
    asked = [rule["expr"] for rule in rules]
    asked += [target["expr"] for panel in panels for target in panel["targets"]]
    named = [set(re.findall(r"farm_\w+", one)) for one in asked]
    assert all(named)
    assert set.union(*named) <= set(told)
