"""The forms of a network side by side: torch in eval mode, ONNX in onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import nn

from farm.spaces.graph import Graph
from farm.spaces.onnx.export import to_onnx
from farm.spaces.torch_module import GraphModule, folded_weights, to_torch

Array = NDArray[np.float32]

# Small layers gain nothing from a second thread, and its spinning starves a busy machine.
torch.set_num_threads(1)


def randomise(module: nn.Module, seed: int) -> None:
    """Random weights of a size that keeps activations alive, and random batch-norm statistics."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                fan_in = layer.weight[0].numel()
                layer.weight.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
                if layer.bias is not None:
                    layer.bias.normal_(0, 0.5, generator=generator)
            if isinstance(layer, nn.BatchNorm2d):
                layer.weight.uniform_(0.5, 1.5, generator=generator)
                layer.bias.normal_(0, 0.3, generator=generator)
                layer.running_mean.normal_(0, 0.3, generator=generator)
                layer.running_var.uniform_(0.5, 2, generator=generator)


def random_module(graph: Graph, seed: int) -> GraphModule:
    module = to_torch(graph).eval()
    randomise(module, seed)
    return module


def random_input(graph: Graph, seed: int) -> Array:
    return np.random.default_rng(seed).normal(size=graph.input_shape).astype(np.float32)


def torch_output(module: nn.Module, x: Array) -> Array:
    with torch.no_grad():
        return module(torch.from_numpy(x)).numpy()


def ort_output(graph: Graph, arguments: Sequence[Array]) -> Array:
    """The ONNX model on its inputs, in order: the network's input, then the weights."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        to_onnx(graph).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [argument.name for argument in session.get_inputs()]
    return session.run(None, dict(zip(names, arguments, strict=True)))[0]


def assert_same_output(a: Array, b: Array) -> None:
    """Equal up to float32 rounding, and not trivially so."""
    scale = np.abs(a).max()
    assert scale > 1e-3
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * scale)


def assert_one_definition(graph: Graph, seed: int) -> None:
    """torch on random weights computes what onnxruntime computes on those weights, folded."""
    module, x = random_module(graph, seed), random_input(graph, seed)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eps = 0.05  # torch's own is too small for its absence to show
    expected = torch_output(module, x)
    assert_same_output(expected, ort_output(graph, [x, *folded_weights(module)]))
