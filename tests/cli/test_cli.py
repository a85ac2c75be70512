"""The command as a user meets it: its help, its errors, its exit codes."""

from __future__ import annotations

import json
import re
import shlex
import sqlite3
from pathlib import Path

import numpy as np
import pytest
import typer

from farm import Farm
from farm.cli.main import app
from farm.store import Store
from tests.conftest import FAKES

CELL = "nb201/|none~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|"
LAUNCH = ("launch", "--devices", "a,b", "--budget", "5", "--executor", "inline")


def commands(group=None, path=()):
    group = group or typer.main.get_command(app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


@pytest.mark.parametrize(("path", "command"), list(commands()), ids=lambda v: str(v))
def test_every_command_has_help_and_the_common_options(path, command):
    options = {option for parameter in command.params for option in parameter.opts}
    assert {"--config", "--json", "--store"} <= options
    assert command.help
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{path}: {parameter.name} is not explained"


def test_the_design_names_these_commands():
    assert {" ".join(path) for path, _ in commands()} == {
        "launch",
        "campaign list",
        "campaign show",
        "campaign resume",
        "campaign cancel",
        "campaign repeat",
        "device add",
        "device list",
        "device remove",
        "device show",
        "device check",
        "device quarantine",
        "device release",
        "device retire",
        "hwl",
        "queue",
        "predict",
        "references choose",
        "references list",
        "references use",
        "search",
        "check-model",
        "compare",
        "watch",
        "tune",
        "export",
        "serve",
        "token create",
        "token list",
        "token revoke",
        "zcp",
        "doctor",
        "demo",
    }


@pytest.mark.slow
def test_a_launch_prints_the_keys_that_programs_rely_on(farm):
    code, out, err = farm(*LAUNCH, "--holdout", "4", "--json")
    assert code == 0
    summary = json.loads(out)
    numbers = {key: summary[key] for key in ("requested", "measured", "failed", "built", "cached")}
    assert numbers == {"requested": 18, "measured": 18, "failed": 0, "built": 0, "cached": 0}
    assert summary["campaign"] == "c1"
    assert summary["wall_s"] > 0
    assert summary["devices"].keys() == {"a", "b"}
    device = summary["devices"]["a"]
    assert (device["measured"], device["failed"], device["heldout"]) == (9, 0, 4)
    assert -1 <= device["spearman"] <= 1
    assert -1 <= device["kendall"] <= 1
    assert 0 <= device["busy_fraction"] <= 1
    assert device["error_median"] >= 0
    assert 0 <= device["within_5"] <= device["within_10"] <= 1
    assert 0 <= device["coverage_95"] <= 1
    assert device["device_s"] > 0
    assert "c1: 0 of 18" in err


def test_a_launch_prints_a_summary_for_a_person(farm):
    code, out, _ = farm(*LAUNCH, "--holdout", "4")
    assert code == 0
    assert "Campaign c1 (nb201) is done: 18 of 18 measured, 0 failed" in out
    assert "Spearman" in out
    assert re.search("All 18 latencies can be trusted: [0-9]+ to the ", out)


@pytest.mark.slow
def test_campaigns_are_listed_shown_and_plotted(farm):
    farm(*LAUNCH, "--holdout", "4")
    code, out, _ = farm("campaign", "list", "--json")
    assert code == 0
    (campaign,) = json.loads(out)["campaigns"]
    assert (campaign["id"], campaign["state"], campaign["measured"]) == ("c1", "done", 18)
    code, out, _ = farm("campaign", "show", "latest", "--plot", "p.png")
    assert code == 0
    assert out.count("nor_conv") + out.count("skip_connect") > 0
    assert Path("p.png").read_bytes().startswith(b"\x89PNG")
    code, out, _ = farm("campaign", "list")
    assert "18 of 18" in out


def test_a_campaign_says_what_it_chose_and_why(farm):
    code, _, err = farm(*LAUNCH, "--holdout", "4", "--no-kernels")
    assert code == 0, err
    with Farm.open().store() as store:
        asked = store.requests("c1", "learn")
        latency_s = {(m.device, m.network.id): m.latency_s for m in store.measurements("c1")}
    found = json.loads(farm("campaign", "show", "--choices", "--json")[1])["choices"]
    assert [(c["device"], c["network"]) for c in found] == [(r.device, r.network.id) for r in asked]
    assert all(c["latency_s"] == latency_s[c["device"], c["network"]] for c in found)
    assert all(c["why"].startswith("that tell most about the others") for c in found)
    shown = farm("campaign", "show", "--choices")[1]
    own = shown[shown.index("b, networks 1 to 5, that tell most about the others") :]
    at = [own.index(c["network"]) for c in found if c["device"] == "b"]
    assert at == sorted(at)

    farm(*LAUNCH, "--select", "random", "--fresh", "--json")
    code, shown, _ = farm("campaign", "show", "--choices")
    assert "a, networks 1 to 5, at random" in shown


def test_a_cancelled_campaign_goes_on_with_resume(farm):
    farm(*LAUNCH, "--device-seconds", "0.000001", "--holdout", "1")
    code, out, _ = farm("campaign", "cancel", "c1", "--json")
    assert (code, json.loads(out)) == (0, {"campaign": "c1", "cancelled": True})
    assert json.loads(farm("campaign", "list", "--json")[1])["campaigns"][0]["state"] == "cancelled"
    code, out, _ = farm("campaign", "resume", "c1", "--executor", "inline", "--json")
    assert code == 0
    assert json.loads(out)["state"] == "done"


def test_what_was_disturbed_is_measured_again_as_the_launch_says(farm, tmp_path):
    spiky = FAKES.replace(
        'FakeAgent"}', 'FakeAgent", disturb: spike, noise: 1.0, controls: {every: 0}}', 1
    )
    (tmp_path / "cluster.yaml").write_text(spiky)
    _, out, _ = farm(*LAUNCH, "--holdout", "1", "--store", "kept here")
    assert "6 contended" in out
    (command,) = re.findall("`farm (campaign resume .*)`", out)
    assert command == "campaign resume c1 --store 'kept here' --again contended"
    (tmp_path / "cluster.yaml").write_text(FAKES)
    code, out, _ = farm(*shlex.split(command), "--executor", "inline")
    assert code == 0
    assert "contended" not in out


def test_hwl_says_what_was_measured_and_what_was_known(farm):
    first = json.loads(farm("hwl", CELL, "--json")[1])
    assert first["network"] == CELL
    assert [r["source"] for r in first["references"]] == ["measured", "measured"]
    assert first["mask"] == [True, True]
    second = json.loads(farm("hwl", CELL, "--json")[1])
    assert [r["source"] for r in second["references"]] == ["cached", "cached"]
    assert second["values"] == first["values"]
    third = json.loads(farm("hwl", CELL, "--measure", "always", "--json")[1])
    assert [r["source"] for r in third["references"]] == ["measured", "measured"]
    reference = third["references"][0]
    assert 0 < reference["low_s"] <= reference["latency_s"] <= reference["high_s"]
    assert "cached" in farm("hwl", CELL)[1]


def test_hwl_takes_no_latency_of_another_batch_size(farm):
    farm("hwl", CELL, "--json")
    config = Path("cluster.yaml").read_text()
    Path("cluster.yaml").write_text(config + "measure: {batch: 4}\n")
    _, out, _ = farm("hwl", CELL, "--measure", "never", "--json")
    assert json.loads(out)["mask"] == [False, False]


def test_hwl_without_measuring_is_predicted_and_leaves_gaps(farm):
    farm(*(word.replace("a,b", "a") for word in LAUNCH))
    code, out, err = farm(
        "hwl",
        "nb201/|none~0|+|none~0|none~1|+|none~0|none~1|none~2|",
        "--measure",
        "never",
        "--json",
    )
    found = json.loads(out)
    assert code == 0, err
    assert found["mask"] == [True, False]
    predicted, missing = found["references"]
    assert (predicted["source"], missing["source"]) == ("predicted", None)
    assert predicted["low_s"] < predicted["latency_s"] < predicted["high_s"]
    assert missing["reason"] == "not measured yet"
    assert (found["values"][1], found["std"][1]) == (None, None)
    assert found["std"][0] > 0


def test_hwl_of_what_nobody_knows_is_a_failure(farm):
    with Store(Path("results")):
        pass
    code, out, err = farm("hwl", CELL, "--measure", "never", "--json")
    assert (code, json.loads(out)["mask"]) == (1, [False, False])
    assert "no reference device has a latency of nb201/" in err
    assert "a: not measured yet; b: not measured yet" in err


def test_hwl_is_normalised_once_enough_is_known(farm):
    before = json.loads(farm("hwl", CELL.removeprefix("nb201/"), "--json")[1])
    assert (before["fitted_on"], before["version"].partition("-")[0]) == (0, "unfitted")
    latency_s = [r["latency_s"] for r in before["references"]]
    assert before["values"] == pytest.approx(np.sqrt(latency_s))
    farm(*LAUNCH)
    after = json.loads(farm("hwl", CELL, "--json")[1])
    assert after["version"].startswith("hwl-")
    assert after["fitted_on"] > 0
    again_s = [r["latency_s"] for r in after["references"]]  # at a baseline that is known better
    assert again_s == pytest.approx(latency_s, rel=0.02)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("launch", "--devices", "c", "--budget", "1"), 2, "no device 'c'; known: a, b, odd"),
        (("launch", "--devices", "a,a", "--budget", "1"), 2, "names each device once"),
        (("launch", "--devices", ",", "--budget", "1"), 2, "names each device once"),
        (("launch", "--devices", "a", "--budget", "0"), 2, "--budget must be at least 1, got 0"),
        (("launch", "--devices", "a", "--budget", "99999"), 2, "ask for fewer"),
        (
            ("launch", "--devices", "a", "--budget", "1", "--space", "nb202"),
            2,
            "did you mean 'nb201'",
        ),
        (("launch", "--devices", "a", "--budget", "1", "--select", "best"), 2, "no way to select"),
        (("launch", "--devices", "a", "--budget", "1", "--executor", "x"), 2, "no executor 'x'"),
        (("launch", "--devices", "odd", "--budget", "1", "--executor", "inline"), 2, "pentium9"),
        (("hwl", "nb201/|conv~0|"), 2, "conv"),
        (("hwl", "nb201/|none~0|+|none~0|none~1|+|none~0|none~1|conv_9x9~2|"), 2, "conv_9x9"),
        (("hwl", "rubbish"), 2, "rubbish"),
        (("hwl", CELL, "--measure", "maybe"), 2, "no way to measure 'maybe'"),
        (("device", "show", "z"), 2, "no device 'z'"),
        (("campaign", "show", "c7"), 1, "no store in"),
        (("campaign", "list", "--config", "none.yaml"), 2, "no none.yaml"),
        (("lunch",), 2, "lunch"),
    ],
)
def test_a_mistake_is_one_line_and_stores_nothing(farm, words, code, message):
    found, out, err = farm(*words)
    assert found == code
    assert out == ""
    assert message in err
    assert err.startswith("farm: ")
    assert len(err.splitlines()) == 1
    stored = Path("results/farm.db")
    if stored.exists():
        with sqlite3.connect(stored) as db:
            assert db.execute("SELECT count(*) FROM campaigns").fetchone() == (0,)
            assert db.execute("SELECT count(*) FROM requests").fetchone() == (0,)
        db.close()


def test_a_misspelt_key_is_named_with_its_line(farm):
    Path("cluster.yaml").write_text(FAKES.replace("references", "refrences"))
    code, _, err = farm("device", "list")
    assert code == 2
    assert (
        err
        == "farm: cluster.yaml:2: refrences: unknown key `refrences`; did you mean `references`?\n"
    )


def test_a_store_of_a_later_farm_is_refused(farm):
    farm(*LAUNCH)
    with sqlite3.connect("results/farm.db") as db:
        db.execute("UPDATE _sqlite_migrations SET name = 'm999_later' WHERE name LIKE 'm003%'")
    db.close()
    code, _, err = farm(*LAUNCH)
    assert code == 1
    assert "m999_later" in err


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_export_writes_a_row_for_each_measurement(farm, format):
    import pyarrow.csv
    import pyarrow.parquet

    farm(*LAUNCH, "--holdout", "2")
    code, out, _ = farm("export", "--format", format, "--json")
    assert (code, json.loads(out)) == (0, {"path": f"measurements.{format}", "rows": 14})
    read = {"csv": pyarrow.csv.read_csv, "parquet": pyarrow.parquet.read_table}[format]
    rows = read(f"measurements.{format}").to_pylist()
    assert len(rows) == 14
    assert {row["device"] for row in rows} == {"a", "b"}
    for row in rows:
        assert row["low_s"] <= row["latency_s"] <= row["high_s"]
        samples = json.loads(row["samples_s"])
        assert min(min(r) for r in samples) <= row["latency_s"]
    assert farm("export", "--format", "xls")[0] == 2
    assert not list(Path().glob("*.part"))


def test_a_device_on_which_everything_fails_is_a_failure(farm):
    broken = FAKES.replace(
        'b: {kind: "tests.fakes:FakeAgent"', 'b: {kind: "tests.fakes:FakeAgent", fault: crash'
    )
    Path("cluster.yaml").write_text(broken)
    code, out, _ = farm(*LAUNCH, "--holdout", "1")
    assert code == 1
    assert out.count("as the test wants it") == 6
    assert "6 failed" in out


def test_devices_are_listed(farm):
    code, out, _ = farm("device", "list", "--json")
    assert code == 0
    assert [d["name"] for d in json.loads(out)["devices"]] == ["a", "b", "odd"]
    code, out, _ = farm("device", "show", "a", "--json")
    assert code == 0
    assert len(json.loads(out)["fingerprint"]) == 16
    assert "fingerprint" in farm("device", "show", "a")[1]


@pytest.mark.slow
def test_the_doctor_names_what_is_wrong(farm):
    Path("cluster.yaml").write_text("devices: {}\nstor: x\n")
    code, out, _ = farm("doctor", "--json")
    checks = json.loads(out)["checks"]
    assert code == 1
    assert [c["what"] for c in checks if c["state"] == "missing"] == ["cluster.yaml"]
    assert {"Python", "ray", "torch", "apache-tvm"} <= {c["what"] for c in checks}
