"""What every search space must do, and what those must do that write networks down as graphs."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from network_forms import assert_one_definition

from farm.core.errors import NetworkSyntaxError
from farm.core.values import Network
from farm.spaces import SPACES, parse_network, space
from farm.spaces.base import GraphSpace, SearchSpace
from farm.spaces.counts import ANALYTIC_NAMES, analytic_features, count_vector, depth
from farm.spaces.onnx import counts as onnx_counts


def sample(any_space: SearchSpace, n: int, seed: int = 0) -> list[Network]:
    """n networks, or all if there are fewer."""
    return any_space.sample(min(n, any_space.size), np.random.default_rng(seed))


def places(network: Network) -> list[str]:
    """The parts of a code of which a neighbour changes one."""
    return re.findall(r"\w+~\d|\d", network.code)


def test_its_name_is_what_it_is_known_by(
    any_space: SearchSpace, models: Mapping[str, bytes]
) -> None:
    assert type(space(any_space.name, models)) is type(any_space)
    assert all(network.space == any_space.name for network in sample(any_space, 3))


def test_a_code_parses_to_its_network(any_space: SearchSpace, models: Mapping[str, bytes]) -> None:
    for network in sample(any_space, 50):
        assert any_space.parse(network.code) == network
        assert any_space.parse(f" {network.code}\n") == network
        assert parse_network(network.id, models) == network


def test_a_sample_is_distinct_and_depends_on_the_seed_alone(any_space: SearchSpace) -> None:
    networks = sample(any_space, 500)
    assert len(networks) == min(500, any_space.size)
    assert len(set(networks)) == len(networks)
    assert networks == sample(any_space, 500)
    assert networks != sample(any_space, 500, seed=1)
    assert sample(any_space, 0) == []


def test_a_sample_visits_every_operation_in_every_place(graph_space: GraphSpace) -> None:
    columns = list(zip(*(places(network) for network in sample(graph_space, 500)), strict=True))
    assert len({len(set(column)) for column in columns}) == 1
    assert len(set(columns[0])) > 4


@pytest.mark.parametrize("beyond", [-1, 1])
def test_a_sample_of_impossible_size_is_refused(any_space: SearchSpace, beyond: int) -> None:
    n = any_space.size + 1 if beyond > 0 else -1
    with pytest.raises(ValueError, match=f"got {n}"):
        any_space.sample(n, np.random.default_rng(0))


def test_neighbours_differ_in_one_place_and_see_each_other(graph_space: GraphSpace) -> None:
    network = sample(graph_space, 1)[0]
    neighbours = graph_space.neighbours(network)
    assert len(set(neighbours)) == len(neighbours)
    for other in neighbours:
        changed = [a != b for a, b in zip(places(network), places(other), strict=True)]
        assert sum(changed) == 1
        assert network in graph_space.neighbours(other)


def test_all_operations_of_all_places_are_neighbours(graph_space: GraphSpace) -> None:
    network = sample(graph_space, 1)[0]
    options = {tuple(places(other)) for other in [network, *graph_space.neighbours(network)]}
    per_place = [len(set(column)) for column in zip(*options, strict=True)]
    assert len(options) == 1 + sum(n - 1 for n in per_place)
    assert np.prod([float(n) for n in per_place]) == pytest.approx(graph_space.size)


def test_a_graph_is_an_ordered_chain_of_needed_nodes(graph_space: GraphSpace) -> None:
    for network in sample(graph_space, 5):
        graph = graph_space.graph(network)
        assert graph == graph_space.graph(network)
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


def shapes_of(values) -> dict[str, tuple[int, ...]]:
    """By name; a size that is not known is 0."""
    return {
        value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in values
    }


def test_its_models_are_valid_with_static_float32_arguments(any_space: SearchSpace) -> None:
    for network in sample(any_space, 3):
        model = any_space.model(network)
        onnx.checker.check_model(model, full_check=True)
        assert not model.graph.initializer
        assert len(model.graph.output) == 1
        values = [*model.graph.input, *model.graph.output]
        assert {value.type.tensor_type.elem_type for value in values} == {onnx.TensorProto.FLOAT}
        assert all(0 not in shape for shape in shapes_of(values).values())
        assert model.graph.input[0].name == "input"


def test_its_models_take_the_weights_of_their_graphs(graph_space: GraphSpace) -> None:
    for network in sample(graph_space, 3):
        graph = graph_space.graph(network)
        expected = {weight.name: weight.shape for weight in graph.weights}
        found = shapes_of(graph_space.model(network).graph.input)
        assert list(found.items()) == [("input", graph.input_shape), *expected.items()]


def test_the_same_network_gives_the_same_bytes(any_space: SearchSpace) -> None:
    a, b = sample(any_space, 2)
    once, again, other = (any_space.model(n).SerializeToString() for n in (a, a, b))
    assert once == again
    assert once != other


@pytest.mark.slow
def test_torch_and_onnx_are_the_same_function(graph_space: GraphSpace) -> None:
    count = 2 if graph_space.name == "fbnet" else 10
    for seed, network in enumerate(sample(graph_space, count)):
        assert_one_definition(graph_space.graph(network), seed)


def test_features_are_finite_and_named(any_space: SearchSpace) -> None:
    networks = sample(any_space, 100)
    features = any_space.features(networks)
    names = any_space.feature_names
    assert features.shape == (len(networks), len(names))
    assert features.dtype == np.float64
    assert np.isfinite(features).all()
    assert len(set(names)) == len(names)
    assert any_space.features([]).shape == (0, len(names))


def test_features_of_a_network_do_not_depend_on_its_company(any_space: SearchSpace) -> None:
    networks = sample(any_space, 10)
    together = any_space.features(networks)
    alone = np.concatenate([any_space.features([network]) for network in networks])
    np.testing.assert_array_equal(together, alone)


def analytic_columns(any_space: SearchSpace, networks: list[Network]) -> np.ndarray:
    columns = [any_space.feature_names.index(name) for name in ANALYTIC_NAMES]
    return any_space.features(networks)[:, columns]


def test_analytic_features_are_counted_in_the_graph(graph_space: GraphSpace) -> None:
    networks = sample(graph_space, 30)
    graphs = [graph_space.graph(network) for network in networks]
    counts = np.array([count_vector(graph) for graph in graphs])
    depths = np.array([float(depth(graph)) for graph in graphs])
    expected = analytic_features(counts, depths)
    np.testing.assert_allclose(analytic_columns(graph_space, networks), expected, rtol=1e-12)


def test_analytic_features_are_those_of_the_model(any_space: SearchSpace) -> None:
    """So they mean the same in every space, and for any ONNX file."""
    networks = sample(any_space, 30)
    models = [any_space.model(network) for network in networks]
    counts = np.array([onnx_counts.count_vector(model) for model in models])
    depths = np.array([float(onnx_counts.depth(model)) for model in models])
    expected = analytic_features(counts, depths)
    np.testing.assert_allclose(analytic_columns(any_space, networks), expected, rtol=1e-12)


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


def test_networks_with_one_graph_have_one_representative(graph_space: GraphSpace) -> None:
    networks = sample(graph_space, 300)
    same = graph_space.representatives(networks)
    assert graph_space.representatives(same) == same
    assert all(
        graph_space.graph(a) == graph_space.graph(b) for a, b in zip(networks, same, strict=True)
    )
    assert len({graph_space.graph(network) for network in networks}) == len(set(same))
