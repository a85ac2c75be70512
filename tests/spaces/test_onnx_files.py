"""ONNX files as networks: what they become, what is refused, and what a code stands for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch import nn

from farm.compile import oracle
from farm.core.errors import NetworkSyntaxError, StoreError
from farm.core.values import Network
from farm.spaces import parse_network
from farm.spaces.onnx.files import OnnxFiles, code_of, import_file, import_folder
from farm.spaces.sizes import Sizes
from tests.onnx_models import cnn, inputs, model, weights

Array = NDArray[Any]

node = helper.make_node


def operators(made: ModelProto) -> list[str]:
    return [n.op_type for n in made.graph.node if n.op_type != "Constant"]


def constants(made: ModelProto) -> dict[str, Any]:
    """The values that were kept, by the operator that reads them."""
    values = {n.output[0]: n.attribute[0].t for n in made.graph.node if n.op_type == "Constant"}
    return {
        n.op_type: numpy_helper.to_array(values[name]).tolist()
        for n in made.graph.node
        for name in n.input
        if name in values
    }


def run(made: ModelProto, *arguments: Array) -> Array:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(made.SerializeToString(), options)
    names = [argument.name for argument in session.get_inputs()]
    output: Array = session.run(None, dict(zip(names, arguments, strict=True)))[0]
    return output


def folded(learnt: Mapping[str, Array], epsilon: float) -> list[Array]:
    """The weights of `cnn` in inference form, in node order."""

    def scale_and_shift(name: str) -> tuple[Array, Array]:
        gamma, beta, mean, variance = (learnt[f"{name}.{part}"] for part in "gbmv")
        scale = gamma / np.sqrt(variance + np.float32(epsilon))
        return scale.reshape(-1, 1, 1), (beta - mean * scale).reshape(-1, 1, 1)

    scale, bias = scale_and_shift("bn")
    rest = [learnt[name] for name in ("deep.w", "deep.b", "fc.w", "fc.b")]
    return [learnt["conv.w"] * scale[..., None], bias.ravel(), *scale_and_shift("pre"), *rest]


def test_the_normal_form_computes_what_the_file_computes(normal) -> None:
    x = np.random.default_rng(1).normal(size=(1, 3, 12, 12)).astype(np.float32)
    expected = run(cnn(), x)
    assert np.abs(expected).max() > 0.1
    found = run(normal(cnn()), x, *folded(weights(), epsilon=0.1))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_normal_form_takes_the_input_and_then_the_weights_in_node_order(normal) -> None:
    made = normal(cnn())
    onnx.checker.check_model(made, full_check=True)
    assert not made.graph.initializer
    assert list(inputs(made).items()) == [
        ("input", (1, 3, 12, 12)),
        ("conv0_1", (8, 3, 3, 3)),
        ("conv0_2", (8,)),
        ("mul2_1", (8, 1, 1)),
        ("add3_1", (8, 1, 1)),
        ("conv4_1", (8, 1, 3, 3)),
        ("conv4_2", (8,)),
        ("gemm8_1", (5, 8)),
        ("gemm8_2", (5,)),
    ]
    assert operators(made) == [
        *("Conv", "Relu", "Mul", "Add", "Conv", "Add"),
        *("GlobalAveragePool", "Reshape", "Gemm"),
    ]
    assert constants(made) == {"Reshape": [1, -1]}
    assert made.graph.node[0].name == "stem/Conv"


def test_seeded_weights_are_valid_weights(normal) -> None:
    """Batch norm with a seeded variance would take the root of a negative number; `program`
    refuses what is not finite."""
    made = normal(cnn())
    for seed in range(5):
        program = oracle.program(made, seed=seed)
        assert max(map(abs, program.expected)) > 1e-3


FLOATS = {"two": np.float32(2), "four": np.array([1, 2, 3, 4], np.float32).reshape(1, 4, 1, 1)}


@pytest.mark.parametrize(
    ("made", "kept"),
    [
        (model([node("Mul", ["x", "two"], ["y"])], FLOATS), {"Mul": 2.0}),
        (
            model([node("Div", ["x", "four"], ["y"])], FLOATS),
            {"Div": [[[[1]], [[2]], [[3]], [[4]]]]},
        ),
        (model([node("Clip", ["x", "", "two"], ["y"])], FLOATS), {"Clip": 2.0}),
        (
            model(
                [node("Resize", ["x", "", "s"], ["y"], mode="nearest")],
                {"s": np.array([1, 1, 2, 2], np.float32)},
            ),
            {"Resize": [1, 1, 2, 2]},
        ),
        (
            model([node("ReduceSum", ["x", "axes"], ["y"])], {"axes": np.array([2, 3])}),
            {"ReduceSum": [2, 3]},
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_constants_that_say_what_to_do_stay(normal, made, kept) -> None:
    found = normal(made)
    assert constants(found) == kept
    assert list(inputs(found)) == ["input"]


def test_what_depends_on_no_input_is_computed(normal) -> None:
    w = np.arange(24, dtype=np.float32).reshape(4, 6)
    made = model(
        [
            node("Cast", ["half"], ["w"], to=TensorProto.FLOAT),
            node("Transpose", ["w"], ["wt"]),
            node("MatMul", ["x", "wt"], ["m"]),
            node("Identity", ["m"], ["i"]),
            node("Dropout", ["i"], ["y", "mask"]),
        ],
        {"half": w.astype(np.float16)},
        (1, 6),
    )
    found = normal(made)
    assert operators(found) == ["MatMul"]
    assert inputs(found) == {"input": (1, 6), "matmul0_1": (6, 4)}


def test_functions_of_the_file_are_written_out(normal) -> None:
    opsets = [helper.make_opsetid("", 17)]
    body = [node("Mul", ["a", "b"], ["m"]), node("Relu", ["m"], ["c"])]
    made = model([node("Gate", ["x", "w"], ["y"], domain="own")], {"w": np.ones(8, np.float32)})
    made.functions.append(helper.make_function("own", "Gate", ["a", "b"], ["c"], body, opsets))
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 4, 8, 8))
    made.graph.output[0].CopyFrom(output)
    found = normal(made)
    assert operators(found) == ["Mul", "Relu"]
    assert inputs(found) == {"input": (1, 4, 8, 8), "mul0_1": (8,)}
    assert [opset.domain for opset in found.opset_import] == [""]


def renamed(made: ModelProto) -> ModelProto:
    """Other names everywhere but for the inputs and outputs, which a user may give."""
    copy = ModelProto()
    copy.CopyFrom(made)
    copy.graph.name, copy.producer_name, copy.doc_string = "other", "exporter", "text"
    keep = {"x", "y", ""}
    for number, n in enumerate(copy.graph.node):
        n.name, n.doc_string = f"layer/{number}", "text"
        n.input[:] = [name if name in keep else f"v/{name}" for name in n.input]
        n.output[:] = [name if name in keep else f"v/{name}" for name in n.output]
        attributes = sorted(n.attribute, key=lambda a: a.name, reverse=True)
        del n.attribute[:]
        n.attribute.extend(attributes)
    for tensor in copy.graph.initializer:
        tensor.name = f"v/{tensor.name}"
    return copy


def listed_as_inputs(made: ModelProto) -> ModelProto:
    """As until IR version 3: initializers are inputs with default values."""
    copy = ModelProto()
    copy.CopyFrom(made)
    for tensor in copy.graph.initializer:
        value = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        copy.graph.input.append(value)
    return copy


def through_identities(made: ModelProto) -> ModelProto:
    """As torch writes weights of equal value: one initializer, the others aliases of it."""
    copy = ModelProto()
    copy.CopyFrom(made)
    for n in copy.graph.node:
        n.input[:] = ["alias" if name == "deep.b" else name for name in n.input]
    copy.graph.node.insert(0, node("Identity", ["bn.b"], ["alias"]))
    return copy


@pytest.mark.parametrize(
    "other",
    [
        cnn(seed=1),
        renamed(cnn()),
        listed_as_inputs(cnn()),
        through_identities(cnn()),
    ],
    ids=["retrained", "renamed", "old", "aliased"],
)
def test_another_export_of_a_network_has_its_code(normal, other) -> None:
    onnx.checker.check_model(other)
    assert code_of(normal(other)) == code_of(normal(cnn()))


@pytest.mark.parametrize(
    "other",
    [
        cnn(channels=9),
        cnn(strides=1),
        cnn(input_shape=(2, 3, 12, 12)),
        cnn(input_shape=("batch", 3, 12, 12)),
    ],
    ids=["channels", "strides", "batch", "open batch"],
)
def test_another_network_has_another_code(normal, other) -> None:
    assert code_of(normal(other)) != code_of(normal(cnn()))


def test_a_kept_constant_is_part_of_the_code(normal) -> None:
    two, three = (
        model([node("Mul", ["x", "c"], ["y"])], {"c": np.float32(value)}) for value in (2, 3)
    )
    assert code_of(normal(two)) != code_of(normal(three))


def test_the_code_depends_on_no_process(tmp_path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(cnn(), path)
    script = "import sys; from pathlib import Path\n"
    script += (
        "from farm.spaces.onnx.files import import_file; print(*import_file(Path(sys.argv[1])))"
    )
    command = [sys.executable, "-W", "ignore", "-c", script, str(path)]
    found = [
        subprocess.run(
            command, env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in "12"
    ]
    assert found[0] == found[1] == f"{next(iter(import_file(path)))}\n".encode()


class TestFolder:
    def test_files_of_one_network_are_one(self, tmp_path):
        for name, made in (("a", cnn()), ("b", cnn(seed=3)), ("c", cnn(channels=9))):
            onnx.save(made, tmp_path / f"{name}.onnx")
        assert len(import_folder(tmp_path)[0]) == 2

    def test_one_unfit_file_is_left_out_and_named(self, tmp_path):
        onnx.save(cnn(), tmp_path / "a.onnx")
        (tmp_path / "b.onnx").write_bytes(b"x")
        models, refused = import_folder(tmp_path)
        assert len(models) == 1
        assert list(refused) == ["b.onnx"]
        assert refused["b.onnx"].startswith("it is no valid ONNX model")
        with pytest.raises(NetworkSyntaxError, match=r"b\.onnx: it is no valid ONNX model"):
            import_folder(tmp_path, strict=True)

    def test_a_folder_without_files_is_refused(self, tmp_path):
        with pytest.raises(NetworkSyntaxError, match=r"no \.onnx files in"):
            import_folder(tmp_path / "none")


class TestModels:
    def test_a_code_that_was_never_imported_says_how_to_import(self):
        with pytest.raises(NetworkSyntaxError, match="no ONNX file was imported as 'abc'"):
            parse_network("onnx/abc", {})

    def test_a_damaged_model_is_not_measured(self, tmp_path):
        onnx.save(cnn(), tmp_path / "a.onnx")
        onnx.save(cnn(channels=9), tmp_path / "b.onnx")
        (a, data), (_, other) = [
            next(iter(import_file(tmp_path / f"{name}.onnx").items())) for name in "ab"
        ]
        for damaged in (other, data[:-5], b""):
            with pytest.raises(
                StoreError, match=f"onnx/{a} is damaged; import its ONNX file again"
            ):
                OnnxFiles({a: damaged}).model(Network("onnx", a))


class Small(nn.Module):
    """What people export: batch norm after convolutions and on its own, activations of several
    kinds, a pool, an upsampling, a concatenation, a flattening."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16))
        self.deep = nn.Sequential(
            nn.Conv2d(16, 16, 3, 1, 1, groups=16, bias=False), nn.BatchNorm2d(16), nn.ReLU6()
        )
        self.before = nn.BatchNorm2d(16)
        self.gate = nn.Conv2d(16, 16, 1)
        self.rest = nn.Sequential(nn.Upsample(scale_factor=2), nn.MaxPool2d(2), nn.Dropout())
        self.head = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.hardswish(self.stem(x))
        y = self.deep(x)
        x = x + torch.sigmoid(self.gate(torch.relu(self.before(y))))
        x = torch.cat([self.rest(x), y], 1).mean((2, 3))
        return self.head(x.view(x.size(0), -1))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_torch_export_has_one_code_however_it_is_written(tmp_path) -> None:
    """Folded or not, with a fixed or an open size, trained or not."""
    exports = [
        (True, None, None),
        (False, None, None),
        (True, {"x": {0: "n"}}, "1,3,16,16"),
        (False, {"x": {0: "n", 2: "h", 3: "w"}}, "1,3,16,16"),
    ]
    codes = set()
    for number, (fold, dynamic, shape) in enumerate(exports):
        torch.manual_seed(number)
        path = tmp_path / f"{number}.onnx"
        torch.onnx.export(
            Small().eval(),
            (torch.zeros(1, 3, 16, 16),),
            str(path),
            dynamo=False,
            input_names=["x"],
            dynamic_axes=dynamic,
            do_constant_folding=fold,
        )
        ((code, data),) = import_file(path, Sizes(shape)).items()
        codes.add(code)
    assert len(codes) == 1
    made = onnx.load_from_string(data)
    weights_of_network = [shape for name, shape in inputs(made).items() if name != "input"]
    assert weights_of_network == [
        *[(16, 3, 3, 3), (16,), (16, 1, 3, 3), (16,), (16, 1, 1), (16, 1, 1)],
        *[(16, 16, 1, 1), (16,), (10, 32), (10,)],
    ]
    assert len(oracle.program(made).expected) == 10
