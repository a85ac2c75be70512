"""Commands that go through a service on another computer: they print what they print here."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest

from farm import Launch
from farm.search.found import Found
from farm.search.setting import Search
from farm.service.asked import ToLaunch, ToSearch
from tests.service.test_api import CELL

ROOT = Path(__file__).parents[2]
OTHER = CELL.replace("none", "skip_connect", 1)


@pytest.fixture
def away(farm, changing, monkeypatch, tmp_path):
    """Runs a command in an empty folder whose cluster.yaml names the service."""
    (tmp_path / "cluster.yaml").write_text(f"farm: {changing.url}\n")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # what the service starts looks for the fakes
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("FARM_TOKEN", changing.token(f"ann-{tmp_path.name.lower()}", "user"))
    return farm


@pytest.fixture
def here(farm, changing):
    return lambda *words: farm(*words, "--config", str(changing.folder / "cluster.yaml"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("predict", CELL, OTHER, "nonsense", "--device", "a"),
        ("hwl", CELL, "--measure", "never"),
        ("hwl", CELL, OTHER, "--jsonl"),
        ("campaign", "list"),
        ("campaign", "show", "--json"),
        ("campaign", "show", "--choices"),
        ("campaign", "show", "c9"),
        ("compare", "c1", "c1", "--margin", "0.03"),
        ("compare", "c1", "c9", "--json"),
        ("watch", "c1"),
        ("hwl", "nonsense"),
    ],
    ids=" ".join,
)
def test_prints_what_is_printed_where_the_farm_is(away, here, words):
    assert away(*words) == here(*words)


@pytest.mark.slow
def test_a_campaign_is_launched_listed_and_cancelled(away):
    code, out, err = away(
        *("launch", "--devices", "b", "--budget", "4", "--holdout", "3", "--no-kernels", "--json")
    )
    assert code == 0, err
    found = json.loads(out)
    assert (found["state"], found["measured"]) == ("done", 7)
    assert f"{found['campaign']}: 7 of 7 measured, 0 failed" in err
    code, out, _ = away("campaign", "cancel", found["campaign"])
    assert (code, out) == (0, f"{found['campaign']} is cancelled.\n")
    code, out, _ = away("device", "list", "--json")
    assert [one["name"] for one in json.loads(out)["devices"]] == ["a", "b", "odd"]


@pytest.mark.slow
def test_a_campaign_is_gone_on_with_by_who_may(away, changing, monkeypatch):
    asked = {"devices": ["b"], "budget": 3, "holdout": 3, "kernels": False, "seed": 7}
    name = changing("/v1/campaigns", asked).json["campaign"]
    changing(f"/v1/campaigns/{name}/cancel", b"")
    words = ("campaign", "resume", name, "--json")
    code, _, err = away(*words)
    assert (code, "takes a token of role admin" in err) == (1, True)
    monkeypatch.setenv("FARM_TOKEN", changing.token(f"adm-{name}", "admin"))
    assert "no verdict is called 'slow'" in away(*words, "--again", "slow")[2]
    code, out, err = away(*words)
    found = json.loads(out)
    assert (code, found["state"], found["measured"]) == (0, "done", 6), err
    verdict = next(iter(found["devices"]["b"]["verdicts"]))
    assert away(*words, "--again", verdict)[0] == 0
    last_run = away("watch", name)[1]
    assert last_run.count(" measured nb201/") == found["devices"]["b"]["verdicts"][verdict]


@pytest.mark.slow
def test_a_search_is_a_job_of_the_service(away, published, tmp_path):
    published("nb201.npz")
    words = ("search", "--device", "a", "--max-latency", "20ms", "--budget", "4")
    of_table = ("--accuracy", "table:nb201.npz:cifar10", "--at-once", "2", "--json")
    code, out, err = away(*words, *of_table, "--output", str(tmp_path / "front.csv"))
    assert code == 0, err
    found = json.loads(out)
    assert found["front"][0]["devices"]["a"]["measured"]
    assert found["front"][0]["network"] in (tmp_path / "front.csv").read_text()
    assert found["measured"] <= found["budget"] == 4
    surety = {"results": 9, "spearman": None, "off": 0.1}
    for told in (found, {**found, "accuracy_predicted": surety, "nearest": found["front"][0]}):
        assert Found.of_json(told).to_json() == told
    for source in ("python:os:getcwd", "own.csv", "csv:/etc/passwd", "table:../x.npz"):
        code, _, err = away(*words, "--accuracy", source)
        assert (code, "runs no functions of those who ask" in err) == (2, True)


def test_a_service_is_asked_for_all_that_a_command_is():
    of_files = {"shape", "batch", "strict"}
    assert ToSearch.model_fields.keys() - {"wait_s"} == {one.name for one in fields(Search)}
    assert ToLaunch.model_fields.keys() == {one.name for one in fields(Launch)} - of_files


@pytest.mark.slow
def test_what_is_not_known_is_measured(away, here):
    fresh = CELL.replace("none", "avg_pool_3x3", 1)
    words = ("predict", fresh, "nonsense", "--device", "a", "--json")
    before = json.loads(away(*words)[1])
    assert before["networks"][0]["source"] in ("networks", "kernels")
    code, out, err = away(*words, "--measure", "missing")
    measured, odd = json.loads(out)["networks"]
    assert (code, measured["source"]) == (0, "measured"), err
    assert "nonsense" in odd["network"]
    cached = json.loads(here(*words)[1])["networks"][0]
    assert {**measured, "source": "cached"} == cached


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("predict", CELL, "--device", "a", "--store", "x"), "--store is for the computer where"),
        (("campaign", "show", "--plot", "x.png"), "--plot is for the computer where the farm is"),
        (("campaign", "repeat"), "this is done on the computer where it is"),
        (("launch", "--devices", "a", "--farm", "nowhere"), "a service's address is such as"),
        (("campaign", "list", "--farm", "http://127.0.0.1:1"), "`farm serve` starts a service"),
    ],
    ids=lambda words: " ".join(words)[:40],
)
def test_what_cannot_be_done_says_what_to_do(farm, monkeypatch, tmp_path, words, said):
    (tmp_path / "cluster.yaml").write_text("farm: http://127.0.0.1:1\n")
    monkeypatch.setenv("FARM_TOKEN", "x")
    code, out, err = farm(*words)
    assert (code in (1, 2), out) == (True, "")
    assert said in err
    assert len(err.splitlines()) == 1


def test_a_token_comes_from_a_file_of_ones_own_and_goes_to_its_address_alone(
    farm, monkeypatch, tmp_path
):
    monkeypatch.delenv("FARM_TOKEN", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    words = ("campaign", "list", "--farm", "http://127.0.0.1:1")
    kept = tmp_path / "farm" / "tokens"
    assert f"or the line `http://127.0.0.1:1 TOKEN` into {kept}" in farm(*words)[2]
    kept.parent.mkdir()
    kept.write_text("http://127.0.0.1:2 other\n")
    kept.chmod(0o644)
    assert f"`chmod 600 {kept}` ends that" in farm(*words)[2]
    kept.chmod(0o600)
    assert "takes a token" in farm(*words)[2]
    kept.write_text("http://127.0.0.1:2 other\nhttp://127.0.0.1:1/ own\n")
    assert "does not answer" in farm(*words)[2]


@pytest.mark.parametrize("text", ["farm: 3\n", "farm: http://a\ndevices: {}\n"])
def test_a_cluster_file_names_a_farm_or_has_one(farm, tmp_path, text):
    (tmp_path / "cluster.yaml").write_text(text)
    code, _, err = farm("campaign", "list")
    assert code == 2
    assert "cluster.yaml:1: `farm" in err
