"""What every search space in the registry must do."""

from __future__ import annotations

import re

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from network_forms import assert_one_definition

from farm.errors import NetworkSyntaxError
from farm.spaces import SPACES, SearchSpace, parse_network, space
from farm.spaces.counts import ANALYTIC_NAMES, analytic_features, count_vector, depth
from farm.spaces.onnx_export import to_onnx
from farm.types import Network


def sample(any_space: SearchSpace, n: int, seed: int = 0) -> list[Network]:
    return any_space.sample(n, np.random.default_rng(seed))


def places(network: Network) -> list[str]:
    """The parts of a code of which a neighbour changes one."""
    return re.findall(r"\w+~\d|\d", network.code)


def test_its_name_is_its_key(any_space: SearchSpace) -> None:
    assert space(any_space.name) is any_space
    assert all(network.space == any_space.name for network in sample(any_space, 3))


def test_a_code_parses_to_its_network(any_space: SearchSpace) -> None:
    for network in sample(any_space, 50):
        assert any_space.parse(network.code) == network
        assert any_space.parse(f" {network.code}\n") == network
        assert parse_network(network.id) == network


def test_a_sample_is_distinct_and_depends_on_the_seed_alone(any_space: SearchSpace) -> None:
    networks = sample(any_space, 500)
    assert len(set(networks)) == 500
    assert networks == sample(any_space, 500)
    assert networks != sample(any_space, 500, seed=1)
    assert sample(any_space, 0) == []


def test_a_sample_visits_every_operation_in_every_place(any_space: SearchSpace) -> None:
    columns = list(zip(*(places(network) for network in sample(any_space, 500)), strict=True))
    assert len({len(set(column)) for column in columns}) == 1
    assert len(set(columns[0])) > 4


@pytest.mark.parametrize("beyond", [-1, 1])
def test_a_sample_of_impossible_size_is_refused(any_space: SearchSpace, beyond: int) -> None:
    n = any_space.size + 1 if beyond > 0 else -1
    with pytest.raises(ValueError, match=f"got {n}"):
        sample(any_space, n)


def test_neighbours_differ_in_one_place_and_see_each_other(any_space: SearchSpace) -> None:
    network = sample(any_space, 1)[0]
    neighbours = any_space.neighbours(network)
    assert len(set(neighbours)) == len(neighbours)
    for other in neighbours:
        changed = [a != b for a, b in zip(places(network), places(other), strict=True)]
        assert sum(changed) == 1
        assert network in any_space.neighbours(other)


def test_all_operations_of_all_places_are_neighbours(any_space: SearchSpace) -> None:
    network = sample(any_space, 1)[0]
    options = {tuple(places(other)) for other in [network, *any_space.neighbours(network)]}
    per_place = [len(set(column)) for column in zip(*options, strict=True)]
    assert len(options) == 1 + sum(n - 1 for n in per_place)
    assert np.prod([float(n) for n in per_place]) == pytest.approx(any_space.size)


def test_a_graph_is_an_ordered_chain_of_needed_nodes(any_space: SearchSpace) -> None:
    for network in sample(any_space, 5):
        graph = any_space.graph(network)
        assert graph == any_space.graph(network)
        known = {"input"}
        for node in graph.nodes:
            assert known.issuperset(node.inputs)
            assert node.name not in known
            known.add(node.name)
        read = {name for node in graph.nodes for name in node.inputs}
        assert known - read - {"input"} == {graph.output}
        assert graph.shapes["input"] == graph.input_shape
        assert graph.input_shape[:2] == (1, 3)
        assert len(graph.shapes[graph.output]) == 2


def test_its_onnx_is_valid_and_takes_input_then_weights(any_space: SearchSpace) -> None:
    for network in sample(any_space, 3):
        graph = any_space.graph(network)
        model = to_onnx(graph)
        onnx.checker.check_model(model, full_check=True)
        assert not model.graph.initializer
        shapes = {
            value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
            for value in model.graph.input
        }
        expected = {weight.name: weight.shape for weight in graph.weights}
        assert list(shapes.items()) == [("input", graph.input_shape), *expected.items()]


def test_the_same_network_gives_the_same_bytes(any_space: SearchSpace) -> None:
    a, b = sample(any_space, 2)
    once, again, other = (to_onnx(any_space.graph(n)).SerializeToString() for n in (a, a, b))
    assert once == again
    assert once != other


def test_torch_and_onnx_are_the_same_function(any_space: SearchSpace) -> None:
    count = 2 if any_space.name == "fbnet" else 10
    for seed, network in enumerate(sample(any_space, count)):
        assert_one_definition(any_space.graph(network), seed)


def test_features_are_finite_and_named(any_space: SearchSpace) -> None:
    networks = sample(any_space, 100)
    features = any_space.features(networks)
    names = any_space.feature_names
    assert features.shape == (100, len(names))
    assert features.dtype == np.float64
    assert np.isfinite(features).all()
    assert len(set(names)) == len(names)
    assert any_space.features([]).shape == (0, len(names))


def test_features_of_a_network_do_not_depend_on_its_company(any_space: SearchSpace) -> None:
    networks = sample(any_space, 10)
    together = any_space.features(networks)
    alone = np.concatenate([any_space.features([network]) for network in networks])
    np.testing.assert_array_equal(together, alone)


def test_analytic_features_are_counted_in_the_graph(any_space: SearchSpace) -> None:
    networks = sample(any_space, 30)
    graphs = [any_space.graph(network) for network in networks]
    counts = np.array([count_vector(graph) for graph in graphs])
    depths = np.array([float(depth(graph)) for graph in graphs])
    columns = [any_space.feature_names.index(name) for name in ANALYTIC_NAMES]
    np.testing.assert_allclose(
        any_space.features(networks)[:, columns], analytic_features(counts, depths), rtol=1e-12
    )


@pytest.mark.parametrize("text", ["", "|", "~", "x" * 5000, "1,2,3", "|none~0|+|none~0|", "é\n\0"])
def test_nonsense_is_refused_in_one_short_line(any_space: SearchSpace, text: str) -> None:
    with pytest.raises(NetworkSyntaxError) as caught:
        any_space.parse(text)
    message = str(caught.value)
    assert "\n" not in message
    assert 20 < len(message) < 500


@pytest.mark.parametrize("name", sorted(SPACES))
@given(text=st.text(alphabet="0123456789|+~-, _abcdeginoprsvx\n\t٣", max_size=90))
@settings(deadline=None, derandomize=True, max_examples=200)
def test_any_text_is_a_network_or_a_syntax_error(name: str, text: str) -> None:
    try:
        network = space(name).parse(text)
    except NetworkSyntaxError as error:
        message = str(error)
    else:
        message = ""
        assert space(name).parse(network.code) == network
    assert "\n" not in message
