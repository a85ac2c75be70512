"""`farm check-model`: what is seen in a file, and for whom it compiles."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.onnx_models import cnn, info, model

CLUSTER = """\
store: results
controls: {every: 0}
devices:
  fine: {kind: "tests.fakes:FakeAgent", target: {kind: llvm, mtriple: x86_64-linux-gnu}}
  # LLVM's writer of GOFF, a format for IBM's mainframes, reads a null pointer on x86-64.
  crashing: {kind: "tests.fakes:FakeAgent", target: {kind: llvm, mtriple: x86_64-linux-gnu-goff}}
  table: {kind: "tests.fakes:FakeAgent"}
"""


@pytest.fixture
def check(farm):
    Path("cluster.yaml").write_text(CLUSTER)

    def run(made: onnx.ModelProto, *words: str):
        onnx.save(made, "net.onnx")
        return farm("check-model", "net.onnx", *words)

    return run


def quantised() -> onnx.ModelProto:
    steps = {"w": np.ones((4, 2), np.int8), "s": np.float32(0.1), "z": np.int8(0)}
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["f"]),
        helper.make_node("MatMul", ["x", "f"], ["m"]),
        helper.make_node("Erf", ["m"], ["y"]),
        helper.make_node("Reshape", ["y", "flat"], ["v"]),
    ]
    outputs = [info("y", shape=(3, 2)), info("v", shape=(6,))]
    return model(nodes, {**steps, "flat": np.array([6])}, (3, 4), outputs=outputs)


def test_it_says_what_a_file_holds_and_who_compiles_it(check):
    code, out, _ = check(quantised(), "--devices", "fine,table", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["inputs"] == [{"name": "x", "type": "float32", "shape": [3, 4]}]
    assert [one["shape"] for one in found["outputs"]] == [[3, 2], [6]]
    assert (found["parameters"], found["macs"], found["kernel_calls"]) == (8, 24, 2)
    assert (found["weights_bytes"], found["activations_bytes"]) == (32, 48 + 24 + 24)
    assert {n: (o["count"], o["by_tvm"]) for n, o in found["operators"].items()} == {
        "Erf": (1, 1),
        "MatMul": (1, 0),
        "Reshape": (1, 0),
    }
    assert "sums in float32" in found["remarks"][0]
    assert "compile Erf (1) of its 2 kernel calls" in found["remarks"][1]
    fine, table = found["devices"]
    assert fine == {"device": "fine", "compiles": True, "reason": None}
    assert table == {
        "device": "table",
        "compiles": None,
        "reason": "it runs no compiled networks",
    }


@pytest.mark.slow
def test_a_device_for_which_it_does_not_compile_is_named_at_the_end(check):
    code, out, err = check(cnn(), "--devices", "crashing,table")
    assert code == 1
    assert "not known" in out
    assert err.startswith("farm: net.onnx does not compile for crashing: ")
    assert "the compiler died building the kernel" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--devices", "none"), "no device 'none'"),
        (("--shape", "1,2"), "--shape 1,2 does not fit input 'x', which is 3,4"),
        (("--batch", "2"), "--batch 2 does not fit: the file fixes the first axis"),
    ],
)
def test_bad_words_are_one_line_and_store_nothing(check, words, message):
    code, out, err = check(quantised(), *words)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert message in err
    assert not Path("results").exists()


def test_hwl_says_what_is_to_be_known_of_a_quantised_network(farm):
    onnx.save(quantised(), "net.onnx")
    assert "sums in float32" in json.loads(farm("hwl", "net.onnx", "--json")[1])["remarks"][0]
    assert "Note: it is quantised" in farm("hwl", "net.onnx")[1]
