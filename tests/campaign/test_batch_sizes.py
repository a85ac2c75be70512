"""Batch sizes as devices of their own: compiled, checked and measured for so many images."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from farm import Ask
from farm.core.values import GivenInput
from farm.farm import Farm
from tests.onnx_models import cnn, model

pytestmark = pytest.mark.slow

CLUSTER = """\
store: results
references: [one, four]
measure: {warmup_s: 0, min_sessions: 1, max_sessions: 1, rounds: 2, block_s: 0.01}
controls: {every: 0}
devices:
  one: {kind: cpu}
  four: {kind: cpu, measure: {batch: 4}}
"""

CELL = "nb201/|none~0|+|none~0|none~1|+|nor_conv_1x1~0|none~1|none~2|"


@pytest.fixture
def farm(tmp_path) -> Farm:
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    return Farm.open(tmp_path / "cluster.yaml")


def measured_shapes(farm: Farm) -> dict[str, tuple[int, ...]]:
    """What each device was given, by what was built for it."""
    with farm.store() as store:
        measured = {m.device: m for m in store.measurements()}
    assert {device: m.spec.batch for device, m in measured.items()} == {"one": 1, "four": 4}
    return {
        device: farm._artifacts().get(m.build_key).program.inputs[0].shape
        for device, m in measured.items()
    }


def test_each_has_a_build_of_its_own(farm):
    assert [r.source for r in farm.hwl(CELL).references] == ["measured", "measured"]
    assert measured_shapes(farm) == {"one": (1, 3, 32, 32), "four": (4, 3, 32, 32)}


@pytest.mark.parametrize(
    ("declared", "given", "said", "expected"),
    [
        ((8, 3, 12, 12), None, (8, 3, 12, 12), [(8, 3, 12, 12)] * 2),
        (("n", 3, 12, 12), "2,3,12,12", (2, 3, 12, 12), [(2, 3, 12, 12)] * 2),
        (("n", 3, 12, 12), None, ("batch", 3, 12, 12), [(1, 3, 12, 12), (4, 3, 12, 12)]),
    ],
    ids=["fixed", "given", "open"],
)
def test_a_file_is_measured_at_what_it_says(farm, tmp_path, declared, given, said, expected):
    onnx.save(cnn(input_shape=declared), tmp_path / "net.onnx")
    encoding = farm.hwl(str(tmp_path / "net.onnx"), Ask(measure="missing", shape=given))
    shapes = [r.inputs[0].shape for r in encoding.references]
    assert (encoding.inputs[0].shape, shapes) == (said, expected)
    assert measured_shapes(farm) == dict(zip(("one", "four"), expected, strict=True))


def test_a_product_from_the_left_and_a_scalar_are_measured_as_they_are(farm, tmp_path):
    left, whole = np.ones((6, 9), np.float32), (9, 5)
    for name, nodes, weights in (
        ("product", [helper.make_node("MatMul", ["w", "x"], ["y"])], {"w": left}),
        ("scalar", [helper.make_node("ReduceMean", ["x"], ["y"], keepdims=0)], {}),
    ):
        onnx.save(model(nodes, weights, whole), tmp_path / f"{name}.onnx")
        encoding = farm.hwl(str(tmp_path / f"{name}.onnx"))
        assert [r.source for r in encoding.references] == ["measured", "measured"]
        assert encoding.inputs == (GivenInput("x", "float32", whole),)


def test_a_network_that_takes_only_one_image_fails_there_and_goes_on_elsewhere(farm, tmp_path):
    nodes = [
        helper.make_node("Transpose", ["x"], ["turned"], perm=[1, 0]),
        helper.make_node("MatMul", ["turned", "w"], ["y"]),
    ]
    mixing = model(nodes, {"w": np.ones((1, 5), np.float32)}, ("n", 4))
    onnx.save(mixing, tmp_path / "mixing.onnx")
    one, four = farm.hwl(str(tmp_path / "mixing.onnx")).references
    assert one.source == "measured"
    assert four.latency_s is None
    assert "does not take a batch of 4" in four.reason
