"""`farm zcp`: proxies are computed once, and kept with what decides them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pyarrow.parquet
import pytest

from farm import Farm
from farm.core.errors import UsageError
from farm.prediction import proxies
from farm.spaces import space
from predictors.encodings import zcp
from tests.onnx_models import cnn

CELL = "nb201/|none~0|+|nor_conv_1x1~0|none~1|+|skip_connect~0|none~1|avg_pool_3x3~2|"
OTHER = "nb201/|none~0|+|none~0|none~1|+|nor_conv_1x1~0|none~1|none~2|"
SMALL = ("--batch", "2")


def said(farm, *words: str) -> dict:
    code, out, err = farm("zcp", *words, *SMALL, "--json")
    assert code == 0, err
    return json.loads(out)


@pytest.mark.slow
def test_proxies_are_computed_once_for_what_decides_them(farm, monkeypatch):
    first = said(farm, CELL)
    (one,) = first["networks"]
    made = space("nb201")
    assert one["proxies"] == proxies.measure(made, made.parse(CELL[6:]), 0, 2)
    assert (one["source"], one["seed"], one["batch"]) == ("computed", 0, 2)
    assert one["version"].startswith(f"{zcp.PASS}, torch ")
    assert said(farm, CELL, "--seed", "1")["networks"][0]["source"] == "computed"
    with monkeypatch.context() as patched:
        patched.setattr(proxies, "measure", None)
        assert said(farm, CELL)["networks"] == [{**one, "source": "cached"}]
    monkeypatch.setattr(zcp, "PASS", zcp.PASS + 1)
    (again,) = said(farm, CELL)["networks"]
    assert (again["source"], again["proxies"]) == ("computed", one["proxies"])
    assert again["version"] != one["version"]


@pytest.mark.slow
def test_rows_that_are_wrong_say_so_and_the_others_are_answered(farm, tmp_path):
    onnx.save(cnn(input_shape=(1, 3, 12, 12)), tmp_path / "net.onnx")
    asked = [CELL, "nb201/x", "net.onnx", OTHER, CELL]
    (tmp_path / "networks.txt").write_text("\n".join(asked))
    code, out, err = farm("zcp", "networks.txt", *SMALL, "--jsonl")
    assert code == 0
    found = [json.loads(line) for line in out.splitlines()]
    assert found[1]["error"].startswith("a NAS-Bench-201 cell has the form")
    assert "1 of 5 networks have no answer" in err
    assert found[2]["network"].startswith("onnx/")
    assert found[4]["proxies"] == found[0]["proxies"]
    assert farm("zcp", "networks.txt", *SMALL, "--output", "p.parquet")[0] == 0
    table = pyarrow.parquet.read_table("p.parquet").to_pylist()
    for row, one in zip(table, found, strict=True):
        assert {n: row[n] for n in one.get("proxies", {})} == one.get("proxies", {})
    assert [row["source"] for row in table] == ["cached", None, *["cached"] * 3]
    code, out, _ = farm("zcp", CELL, OTHER, *SMALL)
    assert code == 0
    assert "grad_norm" in out
    arrays = Farm.open().zcp([CELL, OTHER], batch=2)
    assert arrays.values.shape == (2, len(zcp.NAMES))
    assert arrays.values[1].tolist() == [found[3]["proxies"][name] for name in zcp.NAMES]
    np.testing.assert_array_equal(arrays.to_pandas()[list(zcp.NAMES)].to_numpy(), arrays.values)
    with pytest.raises(UsageError, match="row 2 of 2"):
        Farm.open().zcp([CELL, "nb201/x"], batch=2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((CELL, "--batch", "1"), "--batch must be at least 2 images, got 1"),
        ((CELL, "--seed", "-1"), "--seed must be 0 to 2^63 - 1, got -1"),
        (("nb201/x",), "a NAS-Bench-201 cell has the form"),
        ((CELL, "--shape", "1,3,8,8"), "--shape is only for ONNX files"),
        ((CELL, "--output", "p.txt"), "no format 'txt'"),
        (("missing.onnx",), "missing.onnx"),
    ],
)
def test_what_has_no_proxies_is_refused_before_a_store_is_made(farm, words, message):
    code, out, err = farm("zcp", *words)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1
    assert not Path("results").exists()
