"""ONNX files with nothing replaced: TVM compiles them, this computer's CPU is measured."""

from __future__ import annotations

import json

import onnx
import pytest
from onnx import helper

from tests.onnx_models import cnn, model

pytestmark = pytest.mark.slow

CLUSTER = """\
store: results
references: [cpu1]
measure:
  {warmup_s: 0.02, rounds: 3, block_s: 0.01, min_samples: 2, min_sessions: 1, max_sessions: 1}
controls: {every: 0} # a session of milliseconds says nothing about drift
devices:
  cpu1: {kind: cpu, threads: 1}
"""


@pytest.fixture
def hwl(farm, tmp_path):
    """The reference of a file's encoding, as `farm hwl` prints it."""
    (tmp_path / "cluster.yaml").write_text(CLUSTER)

    def run(made: onnx.ModelProto, *words: str) -> dict:
        onnx.save(made, tmp_path / "model.onnx")
        config = str(tmp_path / "cluster.yaml")
        code, out, err = farm("hwl", "model.onnx", "--config", config, "--json", *words)
        reference = json.loads(out)["references"][0]
        assert code == (1 if reference["latency_s"] is None else 0), err
        return reference

    return run


def test_a_file_is_compiled_checked_and_measured(hwl, tmp_path) -> None:
    small = hwl(cnn(channels=16, input_shape=("n", 3, "h", "w")), "--input-shape", "1,3,16,16")
    large = hwl(cnn(channels=16, input_shape=("n", 3, "h", "w")), "--input-shape", "1,3,32,32")
    assert (small["source"], large["source"]) == ("measured", "measured")
    for found in (small, large):
        assert 0 < found["low_s"] <= found["latency_s"] <= found["high_s"] < 1
    assert len(list((tmp_path / "results/onnx").iterdir())) == 2


def test_an_operator_that_tvm_does_not_import_is_named_with_its_node(hwl) -> None:
    found = hwl(model([helper.make_node("Det", ["x"], ["y"], "head/volume")]))
    assert found["latency_s"] is None
    assert "Det 'head/volume'" in found["reason"]
    assert "not supported" in found["reason"]
