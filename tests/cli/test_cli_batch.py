"""`farm predict` and `farm hwl` for many networks: files, JSON lines, and rows that are wrong."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest

from farm import Ask
from farm.farm import Farm
from farm.spaces import space
from farm.store import Store
from tests.cli.test_cli_predict import CLUSTER
from tests.onnx_models import REFUSED, cnn

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


@pytest.mark.parametrize("command", [("predict", "--device", "a"), ("hwl",)], ids=lambda c: c[0])
def test_a_thousand_bad_rows_of_ten_thousand_say_so_and_the_rest_is_answered(
    measured, tmp_path, command
):
    asked = [network.id for network in MANY]
    asked[::10] = [f"nb201/row {row}" for row in range(0, len(asked), 10)]
    (tmp_path / "networks.txt").write_text("\n".join(asked))
    code, out, err = measured(*command, "networks.txt", "--jsonl")
    assert code == 0
    found = lines(out)
    assert [one["network"] for one in found] == asked
    bad = [row for row, one in enumerate(found) if "error" in one]
    assert bad == list(range(0, len(asked), 10))
    assert "a NAS-Bench-201 cell has the form" in found[0]["error"]
    latencies = [
        latency
        for one in found
        if "error" not in one
        for latency in (one["references"] if command == ("hwl",) else [one])
    ]
    predicted = [one for one in latencies if one["source"] in ("networks", "predicted")]
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
    assert sources == {"measured"}


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


def test_a_table_has_a_row_for_each_network_errors_too(measured, tmp_path):
    asked = [MANY[0].id, "nb201/none", MANY[1].id]
    (tmp_path / "networks.txt").write_text("\n".join(asked))
    code, out, _ = measured("predict", "networks.txt", "--device", "a", "--output", "p.parquet")
    assert (code, out) == (0, "3 networks written to p.parquet\n")
    found = pq.read_table(tmp_path / "p.parquet").to_pylist()
    assert [row["network"] for row in found] == asked
    assert [row["error"] is None for row in found] == [True, False, True]
    told = lines(measured("predict", "networks.txt", "--device", "a", "--jsonl")[1])
    for row in (0, 2):
        assert found[row]["latency_s"] == told[row]["latency_s"]

    assert measured("hwl", "networks.txt", "--output", "h.csv")[0] == 0
    with (tmp_path / "h.csv").open() as file:
        rows = list(csv.DictReader(file))
    told = lines(measured("hwl", "networks.txt", "--jsonl")[1])
    assert [row["network"] for row in rows] == asked
    assert [float(rows[0][device]) for device in ("a", "b")] == told[0]["values"]
    assert rows[0]["a_source"] == told[0]["references"][0]["source"]


def test_a_table_of_an_unknown_format_is_refused_before_anything_is_computed(measured, tmp_path):
    code, _, err = measured("predict", MANY[0].id, "--device", "a", "--output", "p.xlsx")
    assert code == 2
    assert "no format 'xlsx'; known: csv, parquet" in err
    assert not (tmp_path / "p.xlsx").exists()


UNFIT = ("no input", "unknown operator", "unknown ONNX operator", "large weight")
HOW = {"predict": ("predict", "--device", "a"), "hwl": ("hwl",)}


@pytest.fixture
def precise(farm, tmp_path):
    """Devices whose intervals are known; the last network cannot be measured on `b`."""
    text = CLUSTER.replace("max_sessions: 1", "max_sessions: 3")
    faulty = f'b: {{kind: "tests.fakes:FakeAgent", fault: crash, fault_codes: ["{MANY[9].code}"]}}'
    text = text.replace('b: {kind: "tests.fakes:FakeAgent"}', faulty)
    (tmp_path / "cluster.yaml").write_text(text + "references: [a, b]\n")
    assert farm(*LAUNCH, "--devices", "a,b", "--budget", "12", "--precision", "1%")[0] == 0

    def ask(command: str, asked: list[str], *options: str) -> dict[tuple[str, str], dict]:
        (tmp_path / "networks.txt").write_text("\n".join(asked))
        code, out, err = farm(*HOW[command], "networks.txt", "--jsonl", *options)
        assert code == 0, err
        return {
            (one["network"], entry.get("device", "")): entry
            for one in lines(out)
            for entry in one.get("references", [one])
        }

    return ask


def error(entry: dict) -> float:
    return entry["high_s"] / entry["latency_s"] - 1


@pytest.mark.parametrize("command", HOW)
def test_only_what_is_known_too_loosely_is_measured(precise, command):
    asked = [network.id for network in MANY[:3]]
    before = precise(command, asked, "--max-error", "1000%")
    assert {one["source"] for one in before.values()} <= {"predicted", "networks"}
    *_, limit, widest = sorted(map(error, before.values()))
    after = precise(command, asked, "--max-error", str((limit + widest) / 2))
    for at, one in after.items():
        assert (one["source"] == "measured") or error(one) < widest
        assert (one["source"] == "measured") or error(before[at]) < widest
    measured = {at: one for at, one in after.items() if one["source"] == "measured"}
    again = precise(command, asked, "--max-error", str((limit + widest) / 2))
    assert {at: again[at] for at in measured} == {
        at: {**one, "source": "cached"} for at, one in measured.items()
    }


def test_what_others_narrowed_is_not_measured(farm, tmp_path, monkeypatch):
    text = CLUSTER.replace("max_sessions: 1", "max_sessions: 3")
    (tmp_path / "cluster.yaml").write_text(text)
    assert farm(*LAUNCH, "--devices", "a", "--budget", "5")[0] == 0
    monkeypatch.setattr("farm.campaign.asking.AT_ONCE", 4)
    opened, asked = Farm.open(), [network.id for network in MANY[10:34]]
    before = opened.predict(asked, "a")
    after = opened.predict(asked, "a", Ask(measure="missing", max_error=0.3))
    loose, measured = (before.high_s / before.latency_s > 1.3), [n.measured for n in after.networks]
    assert 0 < sum(measured) < sum(loose) / 2
    assert (after.high_s / after.latency_s <= 1.3).all()


@pytest.mark.parametrize("command", HOW)
def test_what_is_missing_is_measured_and_bad_rows_say_so(precise, tmp_path, command):
    bad = MANY[9].id
    asked = ["nb201/x", MANY[0].id, bad, "fbnet/" + "0" * 22]
    device = "b"
    on_b = () if command == "hwl" else ("--device", "b")
    found = precise(command, asked, "--measure", "missing", *on_b)
    assert "a NAS-Bench-201 cell has the form" in found["nb201/x", ""]["error"]
    good, failed = found[MANY[0].id, device], found[bad, device]
    assert (good["source"], good["verdict"]) == ("measured", "ok")
    assert failed["source"] in ("predicted", "networks")
    assert failed["reason"].startswith("crash: ")
    assert {good["batch"], failed["batch"], good["flush_bytes"]} == {1, 0}
    with Store(tmp_path / "results") as store:
        assert good["revision"] == store.facts("b")[-1].fingerprint
    assert found["fbnet/" + "0" * 22, device]["source"] == "measured"
    always = precise(command, [MANY[0].id], "--measure", "always", *on_b)
    assert {one["source"] for one in always.values()} == {"measured"}


@pytest.mark.parametrize("command", HOW)
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--max-error", "much"), "--max-error: a share is written as 5% or 0.05, got 'much'"),
        (("--max-error", "0"), "--max-error must be positive, got 0"),
        (
            ("--max-error", "5%", "--measure", "never"),
            "needs --measure missing, got",
        ),
        (("--measure", "some"), "no way to measure 'some'; known: always, missing, never"),
        (("--executor", "x"), "no executor 'x'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_asked_is_refused_before_a_store_is_made(farm, command, options, said):
    code, _, err = farm(*HOW[command], MANY[0].id, *options)
    assert code == 2
    assert said in err
    assert not Path("results").exists()


@pytest.mark.usefixtures("measured")
def test_data_frames_have_the_rows_of_tables(tmp_path):
    opened = Farm.open(tmp_path / "cluster.yaml")
    asked = [network.id for network in MANY[:3]]
    predicted = opened.predict(asked, "a")
    frame = predicted.to_pandas()
    assert list(frame["network"]) == asked
    np.testing.assert_array_equal(frame["latency_s"].to_numpy(), predicted.latency_s)
    encoding = opened.hwl(asked)
    np.testing.assert_array_equal(encoding.to_pandas()[["a", "b"]].to_numpy(), encoding.values)


@pytest.mark.parametrize("command", HOW)
def test_files_that_are_no_networks_say_so_in_their_rows_and_are_not_kept(
    measured, tmp_path, command
):
    for name in UNFIT:
        onnx.save(REFUSED[name][0], tmp_path / f"{name}.onnx")
    onnx.save(cnn(), tmp_path / "fit.onnx")
    data = (tmp_path / "fit.onnx").read_bytes()
    (tmp_path / "truncated.onnx").write_bytes(data[:-300])
    files = [f"{name}.onnx" for name in (*UNFIT, "truncated", "missing", "fit")]
    (tmp_path / "networks.txt").write_text("\n".join([MANY[0].id, *files]))
    code, out, _ = measured(*HOW[command], "networks.txt", "--jsonl")
    assert code == 0
    good, *bad, fit = lines(out)
    assert "error" not in good
    assert [one["network"] for one in bad] == files[:-1]
    for name, one in zip(UNFIT, bad, strict=False):
        assert REFUSED[name][1] in one["error"]
    assert "it is no valid ONNX model" in bad[-2]["error"]
    assert all("\n" not in one["error"] for one in bad)
    assert ("error" in fit) == (command == "predict")  # too little is known of its like
    kept = list((tmp_path / "results" / "onnx").glob("*"))
    assert len(kept) <= 1
