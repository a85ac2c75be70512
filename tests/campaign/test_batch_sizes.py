"""Batch sizes as devices of their own: compiled, checked and measured for so many images."""

from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto, helper

from farm.farm import Farm

pytestmark = pytest.mark.slow

CLUSTER = """\
store: results
references: [one, four]
measure: {warmup_s: 0, min_sessions: 1, max_sessions: 1, rounds: 2, block_s: 0.01}
devices:
  one: {kind: cpu}
  four: {kind: cpu, measure: {batch: 4}}
"""

CELL = "nb201/|none~0|+|none~0|none~1|+|nor_conv_1x1~0|none~1|none~2|"


@pytest.fixture
def farm(tmp_path) -> Farm:
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    return Farm.open(tmp_path / "cluster.yaml")


def test_each_has_a_build_of_its_own(farm):
    assert [r.source for r in farm.hwl(CELL).references] == ["measured", "measured"]
    with farm.store() as store:
        measured = {m.device: m for m in store.measurements()}
    assert {device: m.spec.batch for device, m in measured.items()} == {"one": 1, "four": 4}
    shapes = {}
    for device, measurement in measured.items():
        artifact = farm._artifacts().get(measurement.build_key)
        shapes[device] = artifact.program.inputs[0].shape
    assert shapes == {"one": (1, 3, 32, 32), "four": (4, 3, 32, 32)}


def test_a_network_that_takes_only_one_image_fails_there_and_goes_on_elsewhere(farm, tmp_path):
    shapes = {"x": (1, 4), "w": (1, 4), "y": (2, 4)}
    typed = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()]
    weight = helper.make_tensor("w", TensorProto.FLOAT, (1, 4), [1.0] * 4)
    nodes = [helper.make_node("Concat", ["x", "w"], ["y"], axis=0)]
    graph = helper.make_graph(nodes, "mixing", typed[:1], typed[2:], [weight])
    opsets = [helper.make_opsetid("", 17)]
    path = tmp_path / "mixing.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    one, four = farm.hwl(str(path)).references
    assert one.source == "measured"
    assert four.latency_s is None
    assert "does not take a batch of 4" in four.reason
