"""ONNX files as networks, as a user of the command meets them."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import onnx
import pytest

from farm import Farm, Launch
from tests.onnx_models import REFUSED, cnn

CELL = "nb201/|none~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|"
LAUNCH = ("launch", "--devices", "a", "--budget", "5", "--holdout", "2", "--space")


@pytest.fixture
def files(farm):
    """A folder `nets` of ten networks; the eleventh file is the first network, trained again."""
    Path("nets").mkdir()
    for channels in range(4, 14):
        onnx.save(cnn(channels), f"nets/{channels}.onnx")
    onnx.save(cnn(4, seed=1), "nets/again.onnx")
    return farm


def test_hwl_of_a_file_is_found_again_without_it(files):
    first = json.loads(files("hwl", "nets/5.onnx", "--json")[1])
    assert first["network"].startswith("onnx/")
    assert [r["source"] for r in first["references"]] == ["measured", "measured"]
    shutil.rmtree("nets")
    second = json.loads(files("hwl", first["network"], "--json")[1])
    assert [r["source"] for r in second["references"]] == ["cached", "cached"]
    third = json.loads(files("hwl", first["network"], "--measure", "always", "--json")[1])
    assert [r["source"] for r in third["references"]] == ["measured", "measured"]


def test_hwl_of_the_same_network_in_another_file_is_cached(files):
    first, again = (
        json.loads(files("hwl", f"nets/{name}.onnx", "--json")[1]) for name in ("4", "again")
    )
    assert first["network"] == again["network"]
    assert [r["source"] for r in again["references"]] == ["cached", "cached"]


def test_hwl_of_an_open_size_takes_the_shape_that_is_given(farm):
    onnx.save(cnn(input_shape=("n", 3, "h", "w")), "open.onnx")
    networks = {
        json.loads(farm("hwl", "open.onnx", "--input-shape", shape, "--json")[1])["network"]
        for shape in ("1,3,8,8", "x=1x3x8x8", "1,3,16,16")
    }
    assert len(networks) == 2


def test_hwl_says_what_input_a_file_was_measured_with(files):
    onnx.save(cnn(input_shape=(8, 3, 12, 12)), "eight.onnx")
    said = json.loads(files("hwl", "eight.onnx", "--json")[1])
    assert said["inputs"] == [{"name": "x", "type": "float32", "shape": [8, 3, 12, 12]}]
    assert [r["inputs"] for r in said["references"]] == [said["inputs"]] * 2
    assert f"{said['network']}, of x float32 8,3,12,12\n" in files("hwl", "eight.onnx")[1]
    assert "inputs" not in json.loads(files("hwl", CELL, "--json")[1])


def test_an_open_batch_is_told_of_each_device(files, tmp_path):
    plain, batched = 'b: {kind: "tests.fakes:FakeAgent"', ", measure: {batch: 4}"
    config = (tmp_path / "cluster.yaml").read_text()
    (tmp_path / "cluster.yaml").write_text(config.replace(plain, plain + batched))
    onnx.save(cnn(input_shape=("n", 3, 12, 12)), "open.onnx")
    said = json.loads(files("hwl", "open.onnx", "--json")[1])
    assert said["inputs"][0]["shape"] == ["batch", 3, 12, 12]
    assert [r["inputs"][0]["shape"][0] for r in said["references"]] == [1, 4]
    assert "of x float32 batch,3,12,12 (batch: 1 on a, 4 on b)" in files("hwl", "open.onnx")[1]


def test_a_campaign_over_files_goes_on_without_them(files):
    opened = Farm.open()

    def cancel_soon(progress):
        opened.cancel(progress.campaign)

    begun = opened.launch(
        Launch(space="onnx:nets", devices=["a"], budget=8, holdout=2),
        executor="inline",
        watch=cancel_soon,
    )
    assert (begun.campaign.state, begun.campaign.measured < 10) == ("cancelled", True)
    shutil.rmtree("nets")
    code, out, _ = files("campaign", "resume", "c1", "--executor", "inline", "--json")
    summary = json.loads(out)
    assert (code, summary["state"], summary["measured"]) == (0, "done", 10)
    assert summary["devices"]["a"]["heldout"] == 2


def test_a_campaign_over_files_measures_them_all(files):
    words = ("launch", "--space", "onnx:nets", "--devices", "a", "--executor", "inline", "--json")
    code, out, _ = files(*words, "--budget", "7", "--holdout", "3")
    summary = json.loads(out)
    assert code == 0
    assert (summary["requested"], summary["measured"], summary["state"]) == (10, 10, "done")
    assert -1 <= summary["devices"]["a"]["spearman"] <= 1
    with sqlite3.connect("results/farm.db") as db:
        ids = [
            row[0]
            for row in db.execute(
                "SELECT DISTINCT network FROM requests WHERE purpose <> 'control'"
            )
        ]
    db.close()
    assert sorted(ids) == sorted(f"onnx/{path.stem}" for path in Path("results/onnx").iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("hwl", "none.onnx"), "none.onnx: it cannot be read: No such file"),
        (("hwl", "text.onnx"), "text.onnx: it is no valid ONNX model"),
        (("hwl", "open.onnx"), "is n,3,h,w, which leaves sizes open; fix them with --shape"),
        (("hwl", "open.onnx", "--input-shape", "1,4,8,8"), "does not fit input 'x', which is n,3"),
        (("hwl", "onnx/0123456789abcdef"), "no ONNX file was imported as '0123456789abcdef'"),
        (("hwl", CELL, "--input-shape", "1,3,8,8"), "--shape is only for ONNX files"),
        (("hwl", "nets/5.onnx", "--measure", "maybe"), "no way to measure 'maybe'"),
        ((*LAUNCH, "onnx:nets", "--budget", "9"), "only 10 of onnx differ; ask for fewer"),
        ((*LAUNCH, "onnx:none"), "no .onnx files in none"),
        ((*LAUNCH, "onnx"), "--space onnx needs the folder of its files: --space onnx:FOLDER"),
        (
            (*LAUNCH, "onnx:."),
            "such as h=128,w=128; nor can the other 1 in",
        ),
        ((*LAUNCH, "onnx:mixed", "--strict"), "bad.onnx: it is no valid ONNX model"),
        ((*LAUNCH, "nb201", "--strict"), "--strict is only for ONNX files, not for 'nb201'"),
        (("hwl", CELL, "--batch", "4"), "--batch is only for ONNX files, not for"),
        ((*LAUNCH, "nb201", "--input-shape", "1,3,8,8"), "not for 'nb201'; leave it out"),
    ],
)
def test_an_unfit_file_is_one_line_and_stores_nothing(files, words, message):
    onnx.save(cnn(input_shape=("n", 3, "h", "w")), "open.onnx")
    Path("text.onnx").write_text("not a model")
    Path("mixed").mkdir()
    Path("mixed/bad.onnx").write_text("not a model")
    onnx.save(cnn(), "mixed/good.onnx")
    code, out, err = files(*words)
    assert (code, out) == (2, "")
    assert message in err
    assert err.startswith("farm: ")
    assert len(err.splitlines()) == 1
    assert not Path("results").exists()


@pytest.mark.parametrize("command", ["hwl", "launch"])
def test_every_refusal_is_one_line_and_stores_nothing(farm, command):
    Path("nets").mkdir()
    words = ("hwl", "nets/net.onnx") if command == "hwl" else (*LAUNCH, "onnx:nets")
    for made, message in REFUSED.values():
        onnx.save(made, "nets/net.onnx")
        code, out, err = farm(*words)
        assert (code, out) == (2, "")
        assert err.startswith("farm: nets/net.onnx: ")
        assert message in err
        assert len(err.splitlines()) == 1
    assert not Path("results").exists()
