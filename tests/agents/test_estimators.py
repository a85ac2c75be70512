"""NPUs and accelerators: what is written for Vela and ZigZag, and what comes of their answers."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from agents.emulated import estimator, tflite, zigzag
from agents.emulated.estimator import Run, graph_of
from agents.emulated.kept import Kept
from agents.emulated.vela import SYSTEMS, Vela, VelaAgent, VelaOptions
from agents.emulated.zigzag import DESIGNS, Zigzag, ZigzagAgent, ZigzagOptions, layers_of
from farm.core.errors import DeviceLost, DeviceUnfit, MeasureTimeout
from farm.core.values import Network
from farm.spaces import space
from farm.spaces.graph import INPUT, Graph, apply, build
from farm.spaces.ops import Add, AvgPool, Conv, GlobalAvgPool, Linear, Relu
from tests.agents.conftest import measure_one

ROOT = Path(__file__).parents[2]

ALL_OPERATIONS = {
    "nb201": "|avg_pool_3x3~0|+|nor_conv_1x1~0|none~1|+|none~0|skip_connect~1|nor_conv_3x3~2|",
    "fbnet32": "0123456780123456780123",
}
"""Networks with every operation of their space."""


def graph(channels: int = 16, size: int = 8, stride: int = 1) -> Graph:
    """Every kind of layer that costs something, on a small input."""
    x = apply(Relu(), apply(Conv(channels, 3, stride), INPUT))
    y = apply(AvgPool(3, 1, 1), apply(Conv(channels, 1), x))
    total = apply(GlobalAvgPool(), apply(Add(), x, y))
    return build((1, 3, size, size), apply(Linear(10), total))


def soon(seconds: float = 300.0) -> Run:
    return Run(max(os.sched_getaffinity(0)), time.monotonic() + seconds)


@pytest.fixture
def fresh_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


class TestKept:
    def test_gives_back_what_was_put(self, tmp_path):
        kept = Kept(tmp_path)
        assert kept.get({"a": 1}) is None
        kept.put({"a": 1}, {"cycles": 7})
        assert kept.get({"a": 1}) == {"cycles": 7}
        assert kept.get({"a": 2}) is None

    @pytest.mark.parametrize("damage", [b"", b'{"key": 1, "resu', b"[]", b"\xff"])
    def test_takes_a_damaged_file_for_a_missing_one(self, tmp_path, damage):
        kept = Kept(tmp_path)
        kept.put(1, {"cycles": 7})
        (file,) = tmp_path.rglob("*.json")
        file.write_bytes(damage)
        assert kept.get(1) is None
        kept.put(1, {"cycles": 8})
        assert kept.get(1) == {"cycles": 8}

    def test_writers_at_the_same_time_harm_nothing(self, tmp_path):
        context = multiprocessing.get_context("fork")
        writers = [context.Process(target=_put_many, args=(tmp_path,)) for _ in range(4)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        kept = Kept(tmp_path)
        assert all(kept.get(n) == {"text": str(n) * 1000} for n in range(50))
        assert not [path for path in tmp_path.rglob(".*") if path.is_file()]


def _put_many(folder: Path) -> None:
    for n in range(50):
        Kept(folder).put(n, {"text": str(n) * 1000})


class TestTflite:
    def test_is_the_same_for_the_same_network(self):
        assert tflite.model(graph()) == tflite.model(graph())
        assert tflite.model(graph()) != tflite.model(graph(channels=8))

    @pytest.mark.parametrize("name", ALL_OPERATIONS)
    def test_says_what_tensorflow_lite_reads(self, name):
        """Read by the generated code that Vela has; the shapes are the graph's own."""
        from ethosu.vela.tflite.Model import Model

        network = Network(name, ALL_OPERATIONS[name])
        data = tflite.model(graph_of(network))
        assert Model.ModelBufferHasIdentifier(data, 0)
        subgraph = Model.GetRootAs(data).Subgraphs(0)
        shapes = [
            tuple(subgraph.Tensors(i).ShapeAsNumpy().tolist())
            for i in range(subgraph.TensorsLength())
            if subgraph.Tensors(i).ShapeLength()
        ]
        for n, c, *sides in graph_of(network).shapes.values():
            assert (n, *sides, c) in shapes


class TestVela:
    @pytest.mark.slow
    @pytest.mark.parametrize("name", ALL_OPERATIONS)
    def test_runs_all_of_a_network_on_the_npu(self, name):
        """It counts no fewer products than the space does, and few more (pools are some)."""
        network = Network(name, ALL_OPERATIONS[name])
        made = space(name)
        macs = made.features([network])[0, made.feature_names.index("macs")]
        found = Vela(VelaOptions()).estimate(graph_of(network), soon())
        assert macs <= found.seen["macs"] <= 1.2 * macs
        assert found.latency_s == pytest.approx(found.seen["cycles"] / 500e6)

    @pytest.mark.parametrize("accelerator", ["ethos-u55-32", "ethos-u65-512", "ethos-u85-2048"])
    def test_every_family_estimates(self, accelerator):
        small = Vela(VelaOptions(accelerator=accelerator)).estimate(graph(), soon())
        large = Vela(VelaOptions(accelerator=accelerator)).estimate(graph(64, 16), soon())
        assert 0 < small.latency_s < large.latency_s

    @pytest.mark.usefixtures("fresh_cache")
    def test_computes_once_and_the_same_again(self, monkeypatch, tmp_path):
        vela = Vela(VelaOptions())
        first = vela.estimate(graph(), soon())
        assert vela.estimate(graph(), Run(0, 0.0)) == first  # no time to compute
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
        assert Vela(VelaOptions()).estimate(graph(), soon()) == first

    @pytest.mark.usefixtures("fresh_cache")
    def test_says_what_vela_refuses(self):
        options = VelaOptions(accelerator="ethos-u55-128", memory="Dedicated_Sram")
        with pytest.raises(DeviceUnfit, match="Vela refuses"):
            Vela(options).estimate(graph(), soon())

    def test_counts_nothing_where_a_cpu_would_have_to_help(self, tmp_path):
        from agents.emulated.vela import _summary

        (tmp_path / "out").mkdir()
        (tmp_path / "out/a_summary_b.csv").write_text("cycles_total\n1\n")
        with pytest.raises(DeviceUnfit, match="3 of the network's operations run on the CPU"):
            _summary(estimator.Finished(0, "CPU operators = 3 (1.0%)", ""), tmp_path)

    def test_a_system_belongs_to_its_family(self):
        with pytest.raises(ValidationError, match="`system` of ethos-u85 is Ethos_U85_SYS_DRAM"):
            VelaOptions(accelerator="ethos-u85-256", system="Ethos_U55_Deep_Embedded")
        for family, systems in SYSTEMS.items():
            assert all(system.lower().startswith(family.replace("-", "_")) for system in systems)


class TestZigzag:
    def test_reads_what_costs_something(self):
        layers = layers_of(graph(stride=2))
        kinds = [(layer["operator_type"], dict(_sizes(layer))) for layer in layers]
        assert kinds == [
            ("Conv", {"B": 1, "K": 16, "C": 3, "OY": 4, "OX": 4, "FY": 3, "FX": 3}),
            ("Conv", {"B": 1, "K": 16, "C": 16, "OY": 4, "OX": 4, "FY": 1, "FX": 1}),
            ("Pooling", {"B": 1, "G": 16, "OY": 4, "OX": 4, "FY": 3, "FX": 3}),
            ("Add", {"B": 1, "G": 16, "OY": 4, "OX": 4}),
            ("Pooling", {"B": 1, "G": 16, "OY": 1, "OX": 1, "FY": 4, "FX": 4}),
            ("Conv", {"B": 1, "K": 10, "C": 16, "OY": 1, "OX": 1, "FY": 1, "FX": 1}),
        ]
        assert layers[0]["dimension_relations"] == ["ix=2*ox+1*fx", "iy=2*oy+1*fy"]

    @pytest.mark.slow
    @pytest.mark.parametrize("name", ALL_OPERATIONS)
    def test_reads_the_products_of_a_network(self, name):
        network = Network(name, ALL_OPERATIONS[name])
        made = space(name)
        macs = made.features([network])[0, made.feature_names.index("macs")]
        layers = [x for x in layers_of(graph_of(network)) if x["operator_type"] == "Conv"]
        assert sum(int(np.prod(layer["loop_sizes"])) for layer in layers) == macs

    def test_a_network_is_the_sum_of_its_layers(self):
        one, two = (Zigzag(ZigzagOptions()).estimate(tiny(n), soon()) for n in (1, 2))
        assert (one.seen["layers"], two.seen["layers"]) == (1, 2)
        assert two.seen["cycles"] == 2 * one.seen["cycles"] > 0

    @pytest.mark.parametrize("design", DESIGNS)
    def test_no_array_does_more_than_it_has_multipliers(self, design):
        graph = tiny(1)
        found = Zigzag(ZigzagOptions(design=design)).estimate(graph, soon())
        layers = [x for x in layers_of(graph) if x["operator_type"] == "Conv"]
        macs = sum(int(np.prod(layer["loop_sizes"])) for layer in layers)
        unrolled = DESIGNS[design].unrolled["default"].values()
        multipliers = int(np.prod([size for loops in unrolled for _, size in loops]))
        assert found.seen["cycles"] >= macs / multipliers
        assert found.latency_s == found.seen["cycles"] / DESIGNS[design].clock_hz

    @pytest.mark.slow
    @pytest.mark.usefixtures("fresh_cache")
    def test_a_layer_is_searched_once(self):
        costs = Zigzag(ZigzagOptions())
        first = costs.estimate(tiny(1), soon())
        assert costs.estimate(tiny(1), Run(0, 0.0)) == first
        with pytest.raises(MeasureTimeout):
            costs.estimate(graph(), Run(max(os.sched_getaffinity(0)), 0.0))

    def test_the_clock_scales_and_needs_no_search(self):
        slow = Zigzag(ZigzagOptions(clock_hz=1e6)).estimate(tiny(1), soon())
        fast = Zigzag(ZigzagOptions(clock_hz=2e6)).estimate(tiny(1), Run(0, 0.0))
        assert slow.latency_s == 2 * fast.latency_s

    @pytest.mark.slow
    @pytest.mark.usefixtures("fresh_cache")
    def test_says_what_zigzag_cannot_map(self, monkeypatch):
        nowhere = replace(DESIGNS["eyeriss"], hardware="no_such_chip")
        monkeypatch.setitem(zigzag.DESIGNS, "eyeriss", nowhere)
        with pytest.raises(DeviceUnfit, match=r"ZigZag cannot map a layer: .*no_such_chip"):
            Zigzag(ZigzagOptions()).estimate(tiny(1), soon())


def tiny(convolutions: int) -> Graph:
    """So many equal convolutions of a few products."""
    x = INPUT
    for _ in range(convolutions):
        x = apply(Conv(4, 1), x)
    return build((1, 4, 2, 2), x)


def _sizes(layer):
    return zip(layer["loop_dims"], layer["loop_sizes"], strict=True)


class TestRun:
    def test_stops_what_takes_too_long(self, tmp_path):
        with pytest.raises(MeasureTimeout, match="no estimate in time"):
            soon(0.2)([sys.executable, "-c", "import time; time.sleep(600)"], tmp_path)

    def test_takes_a_killed_program_for_a_lost_device(self, tmp_path):
        code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
        with pytest.raises(DeviceLost, match="died of SIGKILL"):
            soon()([sys.executable, "-c", code], tmp_path)

    def test_works_on_its_core(self, tmp_path):
        code = "import os, sys; sys.stdin.read(); print(os.sched_getaffinity(0))"
        run = soon()
        assert run([sys.executable, "-c", code], tmp_path).out.strip() == str({run.core})


class TestDevices:
    @pytest.mark.parametrize(
        ("kind", "options"), [(VelaAgent, VelaOptions), (ZigzagAgent, ZigzagOptions)]
    )
    def test_take_networks_with_a_graph_only(self, kind, options, quick):
        with kind("npu", options()) as agent, pytest.raises(DeviceUnfit, match="nb201, fbnet"):
            measure_one(agent, Network("onnx", "0123456789abcdef"), None, quick)

    @pytest.mark.parametrize(
        ("kind", "options", "extra"),
        [(VelaAgent, VelaOptions, "vela"), (ZigzagAgent, ZigzagOptions, "zigzag")],
    )
    def test_say_which_extra_is_missing(self, kind, options, extra, monkeypatch):
        def missing(name: str) -> str:
            raise PackageNotFoundError(name)

        monkeypatch.setattr(estimator, "version", missing)
        says = rf"pip install -c constraints.txt -e '.\[{extra}\]'"
        with kind("npu", options()) as agent, pytest.raises(DeviceUnfit, match=says):
            agent.facts()

    @pytest.mark.parametrize("kind", ["vela", "zigzag"])
    def test_are_named_in_cluster_yaml_without_their_extra(self, kind):
        absent = ("ethosu", "flatbuffers", "zigzag")
        code = f"import sys; sys.modules.update(dict.fromkeys({absent}))\n"
        code += f"from agents import agent_class; print(agent_class({kind!r}).__name__)"
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
        )
        assert done.stdout.strip() == f"{kind.capitalize()}Agent", done.stderr

    def test_of_two_configurations_differ(self):
        prints = set()
        for options in (VelaOptions(), VelaOptions(accelerator="ethos-u85-256")):
            with VelaAgent("npu", options) as agent:
                prints.add(agent.facts().fingerprint)
        for options in (ZigzagOptions(), ZigzagOptions(design="tpu"), ZigzagOptions(clock_hz=1e8)):
            with ZigzagAgent("npu", options) as agent:
                prints.add(agent.facts().fingerprint)
                assert json.loads(agent.facts().identity["mapping"])
        assert len(prints) == 5
