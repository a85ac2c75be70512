"""Zero-cost proxies of the networks of a search space: from a network to a torch module.

    proxies = measure(space("nb201"), network)   # {"fisher": ..., "flops": ..., ...}

Weights are drawn, and networks built, as for the published proxies: of NAS-Bench-201 every edge
is there, needed or not; FBNet's weights are Kaiming's; other networks have torch's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from farm.core.errors import NetworkSyntaxError
from farm.core.values import Network
from farm.spaces.base import ONNX, GraphSpace, SearchSpace

if TYPE_CHECKING:
    from torch import nn

BATCH = 16


def measure(
    space: SearchSpace, network: Network, seed: int = 0, batch: int = BATCH
) -> dict[str, float]:
    """The proxies of `predictors.encodings.zcp.NAMES`, on normal images and random labels.

    seed: draws weights, images and labels. Equal input gives equal output. About a second of one
    core for a NAS-Bench-201 network at batch 16. Raises NetworkSyntaxError for an ONNX network
    with an operator that has no torch form, or that makes no (batch, classes) of images.
    """
    import torch

    from predictors.encodings import zcp_pass

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = _module(space, network)
        images = torch.randn(batch, *_input_shape(space, network)[1:])
        with torch.no_grad():
            classes = module.eval()(images[:2]).shape[1:]
        if len(classes) != 1:
            raise NetworkSyntaxError(
                f"zero-cost proxies are of networks with (N, classes) outputs, {network.id} has "
                f"{('N', *classes)}"
            )
        labels = torch.randint(0, classes[0], (batch,))
    return zcp_pass.measure(module, images, labels, seed)


def _input_shape(space: SearchSpace, network: Network) -> tuple[int, ...]:
    if space.name != ONNX:
        return cast(GraphSpace, space).graph(network).input_shape
    source = space.model(network).graph.input[0]
    return tuple(dim.dim_value for dim in source.type.tensor_type.shape.dim)


def _module(space: SearchSpace, network: Network) -> nn.Module:
    from farm.spaces.nb201.modules import every_edge
    from farm.spaces.nb201.space import parse_cell
    from farm.spaces.onnx.modules import OnnxModule
    from farm.spaces.torch_module import to_torch
    from predictors.encodings.zcp_pass import kaiming

    if space.name == ONNX:
        return OnnxModule(space.model(network))
    if space.name == "nb201":
        return every_edge(parse_cell(network.code))
    module = to_torch(cast(GraphSpace, space).graph(network))
    if space.name.startswith("fbnet"):
        kaiming(module)
    return module
