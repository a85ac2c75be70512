"""ONNX models as torch modules: they compute what onnxruntime computes with the same weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import ModelProto, helper

from farm.core.errors import NetworkSyntaxError
from farm.prediction import proxies
from farm.spaces import space
from farm.spaces.onnx.export import to_onnx
from farm.spaces.onnx.files import OnnxFiles, import_file
from farm.spaces.onnx.modules import OnnxModule
from farm.spaces.onnx.normal import normalise
from predictors.encodings import zcp
from tests import onnx_models

node = helper.make_node


def weights_of(module: OnnxModule, model: ModelProto) -> dict[str, np.ndarray]:
    """The module's weights as the model takes them: a linear layer's are transposed in MatMul."""
    found: dict[str, np.ndarray] = {}
    names = {value.name for value in model.graph.input[1:]}
    nodes = [n for n in model.graph.node if n.op_type != "Constant"]
    for layer, one in zip(module.layers, nodes, strict=True):
        turned = one.op_type == "MatMul" or (
            one.op_type == "Gemm" and not any(a.name == "transB" and a.i for a in one.attribute)
        )
        for name, value in zip(
            [n for n in one.input if n in names], layer.parameters(), strict=True
        ):
            matrix = value.dim() == 2 and turned
            found[name] = (value.T if matrix else value).detach().numpy()
    return found


def agrees(model: ModelProto) -> None:
    """For two images, one after the other in onnxruntime, together in torch."""
    torch.manual_seed(0)
    module = OnnxModule(model)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    shape = onnx_models.inputs(model)[module.source]
    images = torch.randn(2, *shape[1:])
    weights = weights_of(module, model)
    one_by_one = [
        session.run(None, {module.source: image[None].numpy(), **weights})[0] for image in images
    ]
    expected = np.concatenate(one_by_one)
    with torch.no_grad():
        error = np.abs(module(images).numpy() - expected).max()
    assert error <= 1e-4 * np.abs(expected).max()


def test_an_exported_network() -> None:
    agrees(normalise(onnx_models.cnn()))


@pytest.mark.parametrize(
    "text",
    [
        "nb201/|nor_conv_3x3~0|+|nor_conv_1x1~0|avg_pool_3x3~1|+|skip_connect~0|none~1|nor_conv_1x1~2|",
        "fbnet32/0123456780123456780123",
    ],
)
def test_the_farms_own_networks(text: str) -> None:
    name, _, code = text.partition("/")
    made = space(name)
    agrees(to_onnx(made.graph(made.parse(code))))  # type: ignore[attr-defined]


CHAINS = {
    "activations": [
        node("Sigmoid", ["x"], ["a"]),
        node("Tanh", ["a"], ["b"]),
        node("HardSigmoid", ["b"], ["c"], alpha=0.3, beta=0.4),
        node("Softmax", ["c"], ["y"], axis=1),
    ],
    "pools": [
        node("MaxPool", ["x"], ["a"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 0, 0]),
        node("AveragePool", ["a"], ["b"], kernel_shape=[2, 2], pads=[1, 1, 1, 1]),
        node("ReduceMean", ["b"], ["y"], axes=[2, 3], keepdims=0),
    ],
    "branches": [
        node("Relu", ["x"], ["a"]),
        node("Mul", ["a", "x"], ["b"]),
        node("Concat", ["a", "b"], ["c"], axis=1),
        node("Transpose", ["c"], ["d"], perm=[0, 2, 3, 1]),
        node("Flatten", ["d"], ["y"]),
    ],
}


@pytest.mark.parametrize("kind", CHAINS)
def test_other_operators(kind: str) -> None:
    agrees(normalise(onnx_models.model(CHAINS[kind])))


def test_clips_and_products_with_weights() -> None:
    rng = np.random.default_rng(0)
    constants = {
        "low": np.array(0, np.float32),
        "high": np.array(6, np.float32),
        "w": rng.normal(size=(8, 3)).astype(np.float32),
        "scale": rng.normal(size=(1, 4, 1, 1)).astype(np.float32),
    }
    nodes = [
        node("Clip", ["x", "low", "high"], ["a"]),
        node("Mul", ["scale", "a"], ["b"]),
        node("MatMul", ["b", "w"], ["y"]),
    ]
    agrees(normalise(onnx_models.model(nodes, constants)))


def test_an_operator_without_a_torch_form_is_named() -> None:
    model = normalise(onnx_models.model([node("Ceil", ["x"], ["y"], "up")]))
    with pytest.raises(NetworkSyntaxError, match=r"up.*torch modules take .*Conv.*Relu"):
        OnnxModule(model)


def imported(model: ModelProto, folder: Path) -> tuple[OnnxFiles, str]:
    onnx.save(model, folder / "net.onnx")
    models = import_file(folder / "net.onnx")
    return OnnxFiles(models), next(iter(models))


def test_an_onnx_file_has_proxies(tmp_path: Path) -> None:
    files, code = imported(onnx_models.cnn(), tmp_path)
    network = files.parse(code)
    found = proxies.measure(files, network, batch=4)
    assert set(found) == set(zcp.NAMES)
    assert np.isfinite(list(found.values())).all()
    assert found == proxies.measure(files, network, batch=4)
    assert found["flops"] == 6 * 6 * 8 * 27 + 6 * 6 * 8 * 9 + 8 * 5


def test_images_as_output_have_no_proxies(tmp_path: Path) -> None:
    files, code = imported(onnx_models.model([node("Relu", ["x"], ["y"])]), tmp_path)
    with pytest.raises(NetworkSyntaxError, match=r"\(N, classes\) outputs"):
        proxies.measure(files, files.parse(code))
