"""What does not compile, as a user of the command meets it: recorded, named; the rest goes on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from farm.campaign import outcomes
from tests.onnx_models import model

CLUSTER = """\
store: results
references: [{device}]
controls: {{every: 0}}
devices:
  fine: {{kind: "tests.fakes:FakeAgent"}}
  # LLVM's writer of GOFF, a format for IBM's mainframes, reads a null pointer on x86-64.
  crashing:
    kind: tests.fakes:FakeAgent
    target: {{kind: llvm, mtriple: x86_64-linux-gnu-goff}}
  arm:
    kind: tests.fakes:FakeAgent
    target: {{kind: llvm, mtriple: aarch64-linux-gnu}}
  impossible:
    kind: tests.fakes:FakeAgent
    target: {{kind: llvm, mtriple: x86_64-linux-gnu, mattr: [+avx512f, -avx512f]}}
"""
LAUNCH = ("--budget", "1", "--holdout", "0", "--executor", "inline", "--json")


@pytest.fixture
def on(farm):
    """The command in a folder whose reference is a device."""

    def run(device: str, *words: str):
        Path("cluster.yaml").write_text(CLUSTER.format(device=device))
        return farm(*words)

    return run


@pytest.mark.slow
def test_a_crash_of_llvm_is_a_recorded_failure_that_names_the_kernel(on, monkeypatch):
    monkeypatch.setattr(outcomes, "HOPELESS", 2)  # each of them ends three compilers
    code, out, _ = on("fine", "launch", "--devices", "crashing,fine", *LAUNCH)
    found = json.loads(out)
    (failure,) = found["failures"]
    assert code == 1
    kernels = found["devices"]["crashing"]
    assert (kernels["kernels"], kernels["kernels_failed"] > 2) == (0, True)
    assert (failure["device"], failure["kind"]) == ("crashing", "build")
    assert "the compiler died building the kernel " in failure["message"]
    assert (found["state"], found["devices"]["fine"]["measured"]) == ("done", 1)


@pytest.mark.slow
def test_an_operator_that_is_not_supported_is_named_with_its_node(on):
    best = helper.make_node("TopK", ["x", "k"], ["y", "i"], name="best")
    made = model([best], {"k": np.array([3])}, (5, 6))
    onnx.save(made, "top.onnx")
    code, out, _ = on("arm", "hwl", "top.onnx", "--json")
    (reference,) = json.loads(out)["references"]
    assert (code, reference["latency_s"]) == (1, None)
    assert "build: " in reference["reason"]
    assert "TopK 'best'" in reference["reason"]


def test_an_impossible_feature_set_is_refused_before_any_work(on):
    code, out, err = on("fine", "launch", "--devices", "fine,impossible", *LAUNCH)
    assert (code, out) == (2, "")
    assert "`mattr` both asks for 'avx512f' and forbids it; drop one" in err
    assert not list(Path("results").glob("artifacts/*"))
    assert json.loads(on("fine", "campaign", "list", "--json")[1]) == {"campaigns": []}
