"""`farm references`: devices that are chosen, sets that are kept, and going back to one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from farm.farm import Farm
from farm.inventory.config import load
from farm.spaces import space
from farm.store import Store
from predictors.encodings.choosing import choose

CLUSTER = """\
# Ours.
store: results
measure: {min_sessions: 1, max_sessions: 1, rounds: 1, block_s: 0.001}
controls: {every: 0}
devices:
  a: {kind: "tests.fakes:FakeAgent"}
  twin: {kind: "tests.fakes:FakeAgent", latency_s: 3e-3}
  odd: {kind: "tests.fakes:FakeAgent", seed: 5}  # another kind
"""
LAUNCH = ("launch", "--executor", "inline", "--select", "random", "--holdout", "0")
CELL = space("nb201").sample(1, np.random.default_rng(9))[0].id


@pytest.fixture
def measured(farm, tmp_path):
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    assert farm(*LAUNCH, "--devices", "a,twin,odd", "--budget", "14")[0] == 0
    return farm


def said(farm, *words: str) -> dict:
    code, out, err = farm(*words, "--json")
    assert code == 0, err
    return json.loads(out)


def test_those_that_tell_most_come_first_and_what_each_adds_is_said(measured, tmp_path):
    before = (tmp_path / "cluster.yaml").read_text()
    found = said(measured, "references", "choose", "--size", "2")
    assert set(found["devices"]) == {"a", "twin", "odd"}
    first, second = found["chosen"]
    assert first["device"] in ("a", "twin")
    assert second["device"] == "odd"
    assert first["worst"]["device"] == "odd"
    assert second["explained"] == pytest.approx(first["explained"] + second["adds"])
    assert 0 < first["explained"] < second["explained"] <= 1
    code, out, _ = measured("references", "choose", "--size", "3", "--plot", "c.svg")
    assert code == 0
    assert "Of 3 devices" in out
    assert "odd" in Path("c.svg").read_text()
    assert (tmp_path / "cluster.yaml").read_text() == before


def test_no_more_devices_than_there_are(measured):
    code, _, err = measured("references", "choose", "--size", "4")
    assert code == 2
    assert "--size must be 1 to 3, the devices that are known on nb201, got 4" in err


def test_published_tables_tell_enough_and_nothing_is_made(farm, tmp_path):
    cells = space("nb201").sample(2000, np.random.default_rng(0))
    kernels, pools = (np.array([c.code.count(word) for c in cells]) for word in ("conv", "pool"))
    latency_ms = np.stack([1.0 + kernels, 2.0 + 2 * kernels, 1.0 + pools])
    codes = [cell.code for cell in cells]
    np.savez(tmp_path / "nb201.npz", devices=["x", "y", "z"], latency_ms=latency_ms, arch_str=codes)
    (tmp_path / "cluster.yaml").write_text("published: {file: ./nb201.npz}\ndevices: {}\n")
    found = said(farm, "references", "choose", "--size", "2")
    assert [one["device"] for one in found["chosen"]][1] == "published z"
    assert found["chosen"][-1]["explained"] == pytest.approx(1, abs=0.01)
    assert not (tmp_path / "farm-data").exists()


def test_devices_are_used_from_then_on_and_a_kept_set_can_be_gone_back_to(measured, tmp_path):
    assert said(measured, "references", "list") == {"sets": []}
    first = said(measured, "references", "use", "a,odd")
    text = (tmp_path / "cluster.yaml").read_text()
    assert text == CLUSTER.replace("devices:\n", "references: [a, odd]\ndevices:\n")
    before = said(measured, "hwl", CELL, "--measure", "never")
    assert before["version"] == first["version"]
    second = said(measured, "references", "use", "twin")
    assert said(measured, "hwl", CELL, "--measure", "never")["version"] == second["version"]
    listed = said(measured, "references", "list")["sets"]
    assert [(one["version"], one["used"]) for one in listed] == [
        (second["version"], True),
        (first["version"], False),
    ]
    assert said(measured, "references", "use", first["version"]) == first
    assert (tmp_path / "cluster.yaml").read_text() == text
    assert said(measured, "hwl", CELL, "--measure", "never") == before
    assert first["version"] in measured("references", "list")[1]


def test_a_new_set_is_fitted_only_when_it_is_asked_for(measured):
    first = said(measured, "references", "use", "a")
    assert measured(*LAUNCH, "--devices", "a", "--budget", "20", "--seed", "1")[0] == 0
    assert said(measured, "hwl", CELL, "--measure", "never")["version"] == first["version"]
    second = said(measured, "references", "use", "a")
    assert second["version"] != first["version"]
    assert said(measured, "hwl", CELL, "--measure", "never")["version"] == second["version"]


@pytest.mark.parametrize(
    ("which", "message"),
    [
        ("a,b", "no device 'b'; known: a, odd, twin"),
        ("hwl-0123", "no device 'hwl-0123'"),
        ("a,a", "name each reference device once, got a,a"),
        (",", "name each reference device once"),
    ],
)
def test_what_cannot_be_used_changes_nothing(measured, tmp_path, which, message):
    code, _, err = measured("references", "use", which)
    assert code == 2
    assert message in err
    assert (tmp_path / "cluster.yaml").read_text() == CLUSTER
    with Store(Farm.open().config.store) as store:
        assert store.reference_sets() == []


def test_a_device_with_too_few_networks_is_no_reference(measured):
    code, _, err = measured("references", "use", "a", "--space", "fbnet")
    assert code == 2
    assert "0 networks of fbnet were measured on a, and a reference needs 10" in err


def test_a_kept_set_does_not_serve_devices_that_are_others_now(measured, tmp_path):
    kept = said(measured, "references", "use", "a,odd")["version"]
    used = (tmp_path / "cluster.yaml").read_text()
    (tmp_path / "cluster.yaml").write_text(used.replace("measure: {", "measure: {batch: 2, "))
    code, _, err = measured("references", "use", kept)
    assert code == 2
    assert "is of a with (batch, flush_bytes) (1, 0)" in err
    (tmp_path / "cluster.yaml").write_text(used.replace("seed: 5", "seed: 6"))
    assert measured(*LAUNCH, "--devices", "odd", "--budget", "3")[0] == 0
    code, _, err = measured("references", "use", kept)
    assert code == 2
    assert f"reference set {kept} is of odd in revision" in err
    (listed,) = said(measured, "references", "list")["sets"]
    assert (listed["used"], listed["changed"]) == (False, ["odd"])
    (tmp_path / "cluster.yaml").write_text(CLUSTER.replace("  odd:", "  other:"))
    code, _, err = measured("references", "use", kept)
    assert code == 2
    assert "no device 'odd'" in err


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("references: [a] # ours\n", "references: [odd, a] # ours\n"),
        ("references:\n  - a\n  - twin\n\n", "references: [odd, a]\n\n"),
        ("references:\n- a\n- twin\n", "references: [odd, a]\n"),
        ("references: []\n", "references: [odd, a]\n"),
        ("", "references: [odd, a]\n"),
    ],
)
def test_only_the_references_of_the_file_change(tmp_path, before, after):
    from farm.inventory.edit import with_references

    path = tmp_path / "cluster.yaml"
    path.write_text(CLUSTER.replace("devices:\n", f"{before}devices:\n"))
    with_references(path, ["odd", "a"]).save()
    assert path.read_text() == CLUSTER.replace("devices:\n", f"{after}devices:\n")
    assert load(path).references == ("odd", "a")


def test_a_choice_is_greedy_and_complete():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 200))
    values = np.column_stack([first, second, 0.8 * first + 0.6 * second, second + 0.01 * first])
    steps = choose(values, 4)
    assert sorted(step.device for step in steps) == [0, 1, 2, 3]
    assert steps[1].explained == pytest.approx(1, abs=1e-9)
    assert (steps[3].explained, steps[3].worst) == (1.0, None)
    assert [step.explained for step in steps] == sorted(step.explained for step in steps)
    with pytest.raises(ValueError, match="1 to 4, the number of devices, got 5"):
        choose(values, 5)
    with pytest.raises(ValueError, match="a choice needs 10 networks"):
        choose(values[:9], 1)
