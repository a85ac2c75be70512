"""Zero-cost proxies of the networks of a search space: from a network's graph to a torch module.

    proxies = measure(space("nb201"), network)   # {"fisher": ..., "flops": ..., ...}

Weights are drawn, and networks built, as for the published proxies: of NAS-Bench-201 every edge
is there, needed or not; FBNet's weights are Kaiming's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from farm.spaces import GraphSpace
from farm.types import Network

if TYPE_CHECKING:
    from torch import nn

BATCH = 16


def measure(
    space: GraphSpace, network: Network, seed: int = 0, batch: int = BATCH
) -> dict[str, float]:
    """The proxies of `predictors.encodings.zcp.NAMES`, on normal images and random labels.

    seed: draws weights, images and labels. Equal input gives equal output. About a second of one
    core for a NAS-Bench-201 network at batch 16.
    """
    import torch

    from predictors.encodings import zcp_pass

    graph = space.graph(network)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = _module(space, network)
        images = torch.randn(batch, *graph.input_shape[1:])
        labels = torch.randint(0, graph.shapes[graph.output][-1], (batch,))
    return zcp_pass.measure(module, images, labels, seed)


def _module(space: GraphSpace, network: Network) -> nn.Module:
    from farm.spaces.nb201 import parse_cell
    from farm.spaces.nb201_torch import every_edge
    from farm.spaces.torch_module import to_torch
    from predictors.encodings.zcp_pass import kaiming

    if space.name == "nb201":
        return every_edge(parse_cell(network.code))
    module = to_torch(space.graph(network))
    if space.name.startswith("fbnet"):
        kaiming(module)
    return module
