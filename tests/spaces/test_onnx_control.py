"""Branches and loops that are no choice are written out; others are refused."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, parser

from farm.core.errors import NetworkSyntaxError
from tests.onnx_models import POSITIVE, branching

KNOWN_BY_SHAPE = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[1,8] x) => (float[1,8] y) {
   sizes = Shape (x)
   axis = Constant <value_int = 0> ()
   images = Gather (sizes, axis)
   one = Constant <value_int = 1> ()
   single = Equal (images, one)
   same = Identity (x)
   chosen = If (single) <
      then_branch = a () => (float[1,8] p) { q = Identity (same)  p = Relu (q) },
      else_branch = b () => (float[1,8] r) { r = Neg (same) }>
   y = Sigmoid (chosen)
}"""

WRITTEN_OUT = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[1,8] x) => (float[1,8] y) { chosen = Relu (x)  y = Sigmoid (chosen) }"""

LOOP = """
<ir_version: 8, opset_import: ["" : OPSET]>
g (float[1,8] x) => (float[1,8] y, float[3,1,8] all) {
   rounds = Constant <value = int64 {3}> ()
   yes = Constant <value = bool {1}> ()
   y, all = Loop (rounds, yes, x) <body = b (int64 i, bool go, float[1,8] a)
      => (bool on, float[1,8] sum, float[1,8] turned) {
         on = CONDITION
         number = Cast <to = 1> (i)
         sum = Add (a, number)
         turned = Neg (sum)
      }>
}"""


def loop(opset: int, condition: str) -> ModelProto:
    text = LOOP.replace("OPSET", str(opset)).replace("CONDITION", condition)
    made: ModelProto = parser.parse_model(text)
    return made


def outputs(made: ModelProto, x: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(made.SerializeToString())
    found: list[np.ndarray] = session.run(None, {session.get_inputs()[0].name: x})
    return found


def test_a_branch_that_is_known_to_be_taken_is_written_out(normal) -> None:
    found, expected = (normal(parser.parse_model(t)) for t in (KNOWN_BY_SHAPE, WRITTEN_OUT))
    assert [node.op_type for node in found.graph.node] == ["Relu", "Sigmoid"]
    for made in (found, expected):
        for node in made.graph.node:
            node.ClearField("name")
    assert found == expected


@pytest.mark.parametrize("yes", [True, False])
def test_the_condition_decides(normal, yes) -> None:
    (node,) = normal(branching(yes=yes)).graph.node
    assert node.op_type == ("Relu" if yes else "Abs")


@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize("condition", ["Identity (go)", "Constant <value = bool {1}> ()"])
def test_a_loop_of_known_length_is_written_out(normal, opset, condition) -> None:
    made = loop(opset, condition)
    found = normal(made)
    assert {node.op_type for node in found.graph.node} <= {"Add", "Neg", "Constant"} | {
        "Unsqueeze",
        "Concat",
    }
    x = np.linspace(-1, 1, 8, dtype=np.float32)[None]
    for expected, output in zip(outputs(made, x), outputs(found, x), strict=True):
        np.testing.assert_allclose(output, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (branching(POSITIVE), r"node 'choose' \(If\) branches or loops by what it is given"),
        (loop(17, "Not (go)"), r"node 'y' \(Loop\) branches or loops by what it is given"),
    ],
    ids=["branch", "loop"],
)
def test_what_depends_on_the_input_is_refused(normal, made, message) -> None:
    onnx.checker.check_model(made)
    with pytest.raises(NetworkSyntaxError, match=message):
        normal(made)
