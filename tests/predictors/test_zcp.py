"""Zero-cost proxies: against their definitions one by one, and against published values."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from farm.prediction import proxies
from farm.spaces import space
from predictors import metrics
from predictors.encodings import zcp
from predictors.encodings.normalisation import TrainingRows
from predictors.encodings.zcp_pass import measure

NOWHERE = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"


@pytest.fixture(autouse=True)
def _one_core() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def network() -> nn.Module:
    """Small, and smooth enough between its kinks that a second derivative is not all zero."""
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3, stride=2, groups=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 5),
    )


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(4)
    return torch.randn(8, 3, 9, 9), torch.randint(0, 5, (8,))


def _weights(module: nn.Module) -> list[torch.Tensor]:
    return [m.weight for m in module.modules() if isinstance(m, nn.Conv2d | nn.Linear)]


def test_sums_over_gradients_are_those_of_a_pass_of_their_own(network, batch) -> None:
    found = measure(network, *batch)
    weights = _weights(network)
    loss = functional.cross_entropy(network.train()(batch[0]), batch[1])
    gradients = torch.autograd.grad(loss, weights)
    pairs = list(zip(gradients, weights, strict=True))
    assert found["grad_norm"] == pytest.approx(sum(g.norm().item() for g in gradients), rel=1e-4)
    assert found["snip"] == pytest.approx(sum((g * w).abs().sum().item() for g, w in pairs), 1e-4)
    assert found["plain"] == pytest.approx(sum((g * w).sum().item() for g, w in pairs), abs=1e-4)
    assert found["l2_norm"] == pytest.approx(sum(w.norm().item() for w in weights), rel=1e-5)


def test_grasp_is_the_slope_of_the_squared_gradient_along_the_weights(network, batch) -> None:
    """-w' H g is minus half the derivative of |g|^2 as the weights grow: found by differences."""

    def square(step: float) -> float:
        grown = copy.deepcopy(network).double().train()
        weights = _weights(grown)
        with torch.no_grad():
            for weight in weights:
                weight *= 1 + step
        loss = functional.cross_entropy(grown(batch[0].double()), batch[1])
        return sum((g**2).sum().item() for g in torch.autograd.grad(loss, weights))

    slope = (square(1e-5) - square(-1e-5)) / 2e-5
    assert measure(network, *batch)["grasp"] == pytest.approx(-slope / 2, rel=1e-3)


def test_fisher_is_from_the_gradients_of_activations(network, batch) -> None:
    total, kept = 0.0, []
    network.train()
    layers = [m for m in network if isinstance(m, nn.Conv2d | nn.Linear)]
    handles = [m.register_forward_hook(lambda _m, _i, o: kept.append(o)) for m in layers]
    loss = functional.cross_entropy(network(batch[0]), batch[1])
    for handle in handles:
        handle.remove()
    for layer, output, gradient in zip(layers, kept, torch.autograd.grad(loss, kept), strict=True):
        product = (output * gradient).detach().numpy()
        channel = product.sum((2, 3)) if product.ndim == 4 else product
        total += 0.5 * (channel**2).mean(0).sum() * layer.weight[0].numel()
    assert measure(network, *batch)["fisher"] == pytest.approx(total, rel=1e-4)


def test_counts_are_exact(network, batch) -> None:
    found = measure(network, *batch)
    assert found["params"] == 3 * 4 * 9 + 8 + 6 * 2 * 9 + 6 + 6 * 5 + 5
    assert found["flops"] == 81 * 4 * 27 + 16 * 6 * 18 + 30


def test_synflow_is_the_flow_through_every_layer(network, batch) -> None:
    """By Euler's rule each layer's sum of weight times gradient is the output, without biases."""
    for m in network:
        if isinstance(m, nn.Conv2d | nn.Linear) and m.bias is not None:
            nn.init.zeros_(m.bias)
    linear = copy.deepcopy(network).double()
    linear[1] = nn.Identity()
    for parameter in linear.parameters():
        parameter.data.abs_()
    flow = linear(torch.ones(1, 3, 9, 9, dtype=torch.float64)).sum().item()
    assert measure(network, *batch)["synflow"] == pytest.approx(3 * flow, rel=1e-6)


def test_measuring_changes_neither_the_network_nor_the_random_state(network, batch) -> None:
    before, state = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    first, second = measure(network, *batch), measure(network, *batch)
    assert first == second
    assert set(first) == set(zcp.NAMES)
    assert torch.equal(state, torch.get_rng_state())
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.slow
def test_a_network_that_its_input_does_not_reach_has_the_worst_values() -> None:
    nb201 = space("nb201")
    some = "|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|none~1|skip_connect~2|"
    dead, live = (proxies.measure(nb201, nb201.parse(c), batch=4) for c in (NOWHERE, some))
    assert np.isfinite(list(dead.values())).all()
    for name in ("jacov", "nwot", "zen", "synflow", "snip"):
        assert dead[name] < live[name], name


def _agreement(
    name: str, table: Mapping[str, Any], codes: list[str], rows: list[int], columns: list[str]
) -> dict[str, float]:
    """Spearman of what is measured now with what was published, for each proxy."""
    made = space(name)
    found = [
        proxies.measure(made, made.parse(c), seed=i, batch=6)  # type: ignore[arg-type]
        for i, c in enumerate(codes)
    ]
    agreement = {}
    for proxy in set(zcp.NAMES) & set(columns):
        own = np.array([values[proxy] for values in found])
        rho = metrics.spearman(own, table["zcp"][rows, columns.index(proxy)].astype(float))
        agreement[proxy] = rho or 0.0
    return agreement


STABLE = ("params", "flops", "synflow", "l2_norm", "nwot", "snip", "grad_norm")


@pytest.mark.slow
def test_published_values_of_nb201(published: Callable[[str], Mapping[str, Any]]) -> None:
    table = published("zcp_nb201_724.npz")
    rows = list(range(0, 720, 72))
    codes = [str(table["arch_str"][row]) for row in rows]
    found = _agreement("nb201", table, codes, rows, [str(n) for n in table["proxy_names"]])
    for proxy in STABLE:
        assert found[proxy] >= 0.8, found


@pytest.mark.slow
def test_published_values_of_fbnet(published: Callable[[str], Mapping[str, Any]]) -> None:
    table, networks = published("zcp_fbnet.npz"), published("fbnet.npz")
    rows = list(range(0, 4800, 800))
    codes = ["".join(map(str, networks["ops"][row])) for row in rows]
    names = [str(n).removeprefix("log1p_") for n in table["names"]]
    found = _agreement("fbnet32", table, codes, rows, names)
    for proxy in (*STABLE, "zen"):
        assert found[proxy] >= 0.8, found


def test_proxies_that_are_unknown_are_predicted_from_structure(pool) -> None:
    values = np.column_stack([1e6 * pool[:, 4], -np.exp(pool[:, 1]), pool[:, 0]])
    partial = values.copy()
    partial[50:] = np.nan
    rows = TrainingRows.of(np.arange(30))
    known, filled = zcp.encoded(values, pool, rows), zcp.encoded(partial, pool, rows)
    assert filled.shape == (200, 3)
    for own, other in zip(known[50:].T, filled[50:].T, strict=True):
        rho = metrics.spearman(own, other)
        assert rho is not None
        assert rho > 0.95
