"""`farm predict` and `farm hwl` for many networks: files, JSON lines, and rows that are wrong."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest

from farm.spaces import space
from tests.cli.test_cli_predict import CLUSTER

NB201 = space("nb201")
LAUNCH = ("launch", "--executor", "inline", "--select", "random", "--holdout", "0")
MANY = NB201.sample(10_000, np.random.default_rng(3))


@pytest.fixture
def measured(farm, tmp_path):
    (tmp_path / "cluster.yaml").write_text(CLUSTER + "references: [a, b]\n")
    assert farm(*LAUNCH, "--devices", "a,b", "--budget", "12")[0] == 0
    return farm


def lines(out: str) -> list[dict]:
    return [json.loads(line) for line in out.splitlines()]


def test_a_thousand_bad_rows_of_ten_thousand_say_so_and_the_rest_is_answered(measured, tmp_path):
    asked = [network.id for network in MANY]
    asked[::10] = [f"nb201/row {row}" for row in range(0, len(asked), 10)]
    (tmp_path / "networks.txt").write_text("\n".join(asked))
    code, out, err = measured("predict", "networks.txt", "--device", "a", "--jsonl")
    assert code == 0
    found = lines(out)
    assert [one["network"] for one in found] == asked
    bad = [row for row, one in enumerate(found) if "error" in one]
    assert bad == list(range(0, len(asked), 10))
    assert "a NAS-Bench-201 cell has the form" in found[0]["error"]
    predicted = [one for one in found if one.get("source") == "networks"]
    assert len(predicted) > 8000
    assert all(one["low_s"] < one["latency_s"] < one["high_s"] for one in predicted)
    assert f"{len(bad)} of {len(asked)} networks have no answer" in err
    assert len(err.splitlines()) < 10


def test_hwl_of_lines_from_another_program_is_that_of_each_alone(measured, monkeypatch):
    asked = [network.id for network in MANY[:30]]
    said = [json.dumps({"network": text}) for text in asked[:10]]
    said += [json.dumps(text) for text in asked[10:20]] + asked[20:]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join([*said, '{"net": 1}'])))
    code, out, err = measured("hwl", "-", "--jsonl")
    assert code == 0
    found = lines(out)
    assert [one["network"] for one in found[:-1]] == asked
    assert found[-1]["network"] == '{"net": 1}'
    assert "row 31: a network is SPACE/CODE" in err
    for row in (0, 15, 29):
        alone = json.loads(measured("hwl", asked[row], "--measure", "never", "--json")[1])
        assert (alone["values"], alone["version"]) == (found[row]["values"], found[row]["version"])
        assert alone["std"] == pytest.approx(found[row]["std"])
        assert [r["source"] for r in alone["references"]] == ["predicted"] * 2


def test_several_networks_are_one_object_or_a_table(measured):
    first, second = (network.id for network in MANY[:2])
    said = json.loads(measured("hwl", first, second, "--json")[1])["networks"]
    assert [one["network"] for one in said] == [first, second]
    code, out, _ = measured("hwl", first, second)
    assert code == 0
    assert said[0]["version"] in "".join(out.split())
    measured_now = json.loads(measured("hwl", first, second, "--measure", "missing", "--json")[1])
    sources = {r["source"] for one in measured_now["networks"] for r in one["references"]}
    assert sources == {"cached"}


def test_networks_of_another_space_say_what_is_missing_in_their_rows(measured):
    other = "fbnet/" + "0" * 22
    code, out, _ = measured("predict", MANY[0].id, other, "--device", "a", "--json")
    assert code == 0
    good, bad = json.loads(out)["networks"]
    assert good["source"] == "networks"
    assert bad["network"] == other
    assert "0 networks of fbnet were measured on a" in bad["error"]


@pytest.mark.parametrize("command", [("predict", "--device", "a"), ("hwl",)], ids=lambda c: c[0])
def test_where_nothing_can_be_answered_the_command_fails(measured, tmp_path, command):
    (tmp_path / "bad.txt").write_text("x\ny\n")
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "bytes").write_bytes(bytes(range(256)))
    for file, said in (
        ("bad.txt", "a network is SPACE/CODE"),
        ("empty.txt", "no network is named"),
        ("bytes", "bytes is not a text file"),
    ):
        code, out, err = measured(*command, file)
        assert (code, out) == (2, "")
        assert said in err
        assert len(err.splitlines()) == 1
