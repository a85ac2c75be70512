"""Zero-cost proxies of the networks of a search space: from a network to a torch module.

    proxies = measure(space("nb201"), network)   # {"fisher": ..., "flops": ..., ...}

Weights are drawn, and networks built, as for the published proxies: of NAS-Bench-201 every edge
is there, needed or not; FBNet's weights are Kaiming's; other networks have torch's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from farm.core.errors import FarmError, NetworkSyntaxError, UsageError
from farm.core.values import Network
from farm.prediction.batch import Answers, Batch
from farm.spaces import space as searched_space
from farm.spaces.base import ONNX, GraphSpace, SearchSpace
from farm.store import ProxyPass, Store
from predictors import FloatArray
from predictors.encodings import zcp

if TYPE_CHECKING:
    from torch import nn

BATCH = 16


@dataclass(frozen=True)
class NetworkProxies:
    """A network's proxies, by the names in `predictors.encodings.zcp.NAMES`. source: `computed` now
    or `cached` in the store."""

    network: Network
    proxies: Mapping[str, float]
    source: str
    by: ProxyPass

    def to_json(self) -> dict[str, Any]:
        own = {"network": self.network.id, "proxies": dict(self.proxies), "source": self.source}
        return {**own, **vars(self.by)}

    def to_row(self) -> dict[str, Any]:
        """With a column for each proxy."""
        return {"network": self.network.id, **self.proxies, "source": self.source, **vars(self.by)}


@dataclass(frozen=True, eq=False)
class Proxies:
    """Of many networks, in the order in which they were asked for; those that have none say why."""

    answers: Answers[NetworkProxies]
    by: ProxyPass

    names = zcp.NAMES

    @cached_property
    def networks(self) -> tuple[NetworkProxies, ...]:
        """Those that have any."""
        return tuple(self.answers)

    @property
    def values(self) -> FloatArray:
        """(N, 12), of `networks`, in the order of `names`."""
        each = [[one.proxies[name] for name in zcp.NAMES] for one in self.networks]
        return np.array(each).reshape(-1, len(zcp.NAMES))

    def to_json(self) -> dict[str, Any]:
        return {**vars(self.by), "networks": list(self.answers.lines())}

    def to_pandas(self) -> Any:
        """As `Answers.to_pandas`: a row for each network that was asked for."""
        return self.answers.to_pandas()


def current_pass(seed: int = 0, batch: int = BATCH) -> ProxyPass:
    """What decides proxies that are computed now. Raises UsageError for a batch of one image, whose
    batch norms tell nothing."""
    if batch < 2:
        raise UsageError(f"--batch must be at least 2 images, got {batch}")
    if not 0 <= seed < 2**63:
        raise UsageError(f"--seed must be 0 to 2^63 - 1, got {seed}")
    return ProxyPass(f"{zcp.PASS}, torch {version('torch')}", seed, batch)


def proxies(store: Store, batch: Batch, by: ProxyPass) -> Proxies:
    """Of all networks of a batch: from the store, else computed and kept one by one."""

    def answer(networks: Sequence[Network]) -> Iterator[NetworkProxies | str]:
        searched = searched_space(networks[0].space, store.models)
        known = store.proxies(by, networks)
        for network in networks:
            source = "cached" if network in known else "computed"
            try:
                found = known.get(network) or measure(searched, network, by.seed, by.batch)
            except FarmError as e:
                yield str(e)
                continue
            if source == "computed" and store.can_write:
                store.keep_proxies(by, network, found)
            known[network] = found
            yield NetworkProxies(network, found, source, by)

    return Proxies(Answers.of(batch, answer), by)


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
