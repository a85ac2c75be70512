"""Accelerators with arrays of multipliers, estimated by ZigZag (the extra `zigzag`).

ZigZag (Mei et al., "ZigZag", IEEE Transactions on Computers 2021) searches the best order of loops
of a layer for a described accelerator and says its cycles. A network is the sum of its layers, one
after the other, so each layer is searched once and kept.

It counts: convolutions, linear layers, pools and sums, with the traffic between their memories. It
does not count: ReLU, batch norm, shuffles and constants, which are taken for free; what layers
could leave on the chip for the next; and everything around the accelerator.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, Field

from agents.emulated.estimator import (
    Estimate,
    EstimatorAgent,
    EstimatorOptions,
    Model,
    Run,
    installed_version,
)
from agents.emulated.kept import Kept
from farm.core.errors import DeviceUnfit
from farm.core.hosts import cache_folder
from farm.core.values import digest
from farm.spaces.graph import Graph, Node
from farm.spaces.ops import Add, AvgPool, Conv, GlobalAvgPool, Linear


@dataclass(frozen=True)
class Design:
    """An accelerator.

    hardware: the name of its description in ZigZag. clock_hz: of the chip that it is like.
    unrolled: by kind of layer, the loop that each dimension of the array works on, and how far.
    """

    hardware: str
    clock_hz: float
    unrolled: Mapping[str, Mapping[str, Sequence[tuple[str, int]]]]


DESIGNS: Mapping[str, Design] = {
    # Chen et al., "Eyeriss", JSSC 2017: 200 MHz, rows stationary.
    "eyeriss": Design(
        "eyeriss_like",
        200e6,
        {
            "default": {"D1": [("OY", 14)], "D2": [("FY", 3), ("K", 4)]},
            "Pooling": {"D1": [("OY", 14)], "D2": [("FY", 3)]},
            "Add": {"D1": [("G", 14)]},
        },
    ),
    # Jouppi et al., "In-Datacenter Performance Analysis of a Tensor Processing Unit", ISCA 2017:
    # 700 MHz, weights stationary; ZigZag's array is 32 by 32.
    "tpu": Design(
        "tpu_like",
        700e6,
        {
            "default": {"D1": [("K", 32)], "D2": [("C", 32)]},
            "Pooling": {"D1": [("G", 32)]},
            "Add": {"D1": [("G", 32)]},
        },
    ),
    # Coral's data sheet of the Edge TPU: 500 MHz at most.
    "edge-tpu": Design(
        "edge_tpu_like",
        500e6,
        {
            "default": {
                "D1": [("K", 8)],
                "D2": [("C", 8)],
                "D3": [("OX", 4)],
                "D4": [("OY", 4)],
            },
            "Pooling": {"D1": [("G", 8)]},
            "Add": {"D1": [("G", 8)]},
        },
    ),
}

_SEARCH = 6
"""ZigZag's `lpf_limit`: into how many factors loops are split for the search of their order."""

_PRECISION_BITS = {"O": 16, "O_final": 8, "W": 8, "I": 8}

Layer = dict[str, Any]
"""As ZigZag reads it, without its number and name."""


class ZigzagOptions(EstimatorOptions):
    """design: one of `DESIGNS`; clock_hz: by default the one of the chip that it is like."""

    design: Literal["eyeriss", "tpu", "edge-tpu"] = "eyeriss"
    clock_hz: float | None = Field(None, gt=0)


def layers_of(graph: Graph) -> list[Layer]:
    """What is counted of a network, in order."""
    found = (_layer(graph, node) for node in graph.nodes)
    return [layer for layer in found if layer is not None]


def _layer(graph: Graph, node: Node) -> Layer | None:
    shape = graph.shapes[node.name]
    source = graph.shapes[node.inputs[0]] if node.inputs else ()
    match node.op:
        case Conv() as op:
            into, out = source[1] // op.groups, shape[1] // op.groups
            sizes = {"G": op.groups, "K": out, "C": into, "OY": shape[2], "OX": shape[3]}
            return _slid("Conv", {**sizes, "FY": op.kernel, "FX": op.kernel}, op.stride)
        case Linear(features=features):
            sizes = {"G": 1, "K": features, "C": source[1], "OY": 1, "OX": 1, "FY": 1, "FX": 1}
            return _slid("Conv", sizes, 1)
        case AvgPool(kernel=kernel, stride=stride):
            sizes = {"G": shape[1], "OY": shape[2], "OX": shape[3], "FY": kernel, "FX": kernel}
            return _slid("Pooling", sizes, stride)
        case GlobalAvgPool():
            sizes = {"G": shape[1], "OY": 1, "OX": 1, "FY": source[2], "FX": source[3]}
            return _slid("Pooling", sizes, 1)
        case Add():
            return _described("Add", {"G": shape[1], "OY": shape[2], "OX": shape[3]}, {})
    return None


def _slid(kind: str, sizes: Mapping[str, int], stride: int) -> Layer:
    relations = [f"ix={stride}*ox+1*fx", f"iy={stride}*oy+1*fy"]
    if kind == "Conv" and sizes["G"] == 1:  # which dimension there is decides what is unrolled
        sizes = {name: size for name, size in sizes.items() if name != "G"}
    return _described(kind, sizes, {"dimension_relations": relations})


_EQUATIONS = {
    ("Conv", False): "O[b][k][oy][ox]+=W[k][c][fy][fx]*I[b][c][iy][ix]",
    ("Conv", True): "O[b][g][k][oy][ox]+=W[g][k][c][fy][fx]*I[b][g][c][iy][ix]",
    ("Pooling", True): "O[b][g][oy][ox]+=W[g][fy][fx]*I[b][g][iy][ix]",
    ("Add", True): "O[b][g][oy][ox]=W[b][g][oy][ox]+I[b][g][oy][ox]",
}
"""By the kind of layer and whether it has the dimension G."""


def _described(kind: str, sizes: Mapping[str, int], more: Mapping[str, Any]) -> Layer:
    return {
        "operator_type": kind,
        "equation": _EQUATIONS[kind, "G" in sizes],
        "loop_dims": ["B", *sizes],
        "loop_sizes": [1, *sizes.values()],
        "operand_precision": _PRECISION_BITS,
        "operand_source": {},
        **more,
    }


def mapping(design: Design) -> list[dict[str, Any]]:
    """How layers are laid out on the array, as ZigZag reads it."""
    links = {"O": "O", "W": "I2", "I": "I1"}
    return [
        {
            "name": kind,
            "spatial_mapping": {
                dimension: [f"{loop}, {size}" for loop, size in loops]
                for dimension, loops in unrolled.items()
            },
            "memory_operand_links": links,
        }
        for kind, unrolled in design.unrolled.items()
    ]


class Zigzag:
    """An accelerator; the costs of layers are kept in the cache."""

    def __init__(self, options: ZigzagOptions) -> None:
        self._design = DESIGNS[options.design]
        self._clock_hz = options.clock_hz or self._design.clock_hz
        self._kept = Kept(cache_folder() / "zigzag")

    def identity(self) -> Mapping[str, str]:
        """See `Model.identity`."""
        return {
            "hardware": self._design.hardware,
            "mapping": json.dumps(mapping(self._design)),
            "search": str(_SEARCH),
            "clock_hz": str(self._clock_hz),
            "zigzag": installed_version("zigzag-dse", "zigzag"),
        }

    def estimate(self, graph: Graph, run: Run) -> Estimate:
        """See `Model.estimate`. What was searched before a timeout is kept."""
        layers = layers_of(graph)
        costs = self._costs(layers, run)
        cycles = sum(cost["cycles"] for cost in costs)
        energy_pj = sum(cost["energy_pj"] for cost in costs)
        seen = {"cycles": cycles, "energy_pj": energy_pj, "layers": float(len(layers))}
        return Estimate(cycles / self._clock_hz, seen)

    def _costs(self, layers: Sequence[Layer], run: Run) -> list[dict[str, float]]:
        """Of each layer; those that are not known are searched now."""
        what = {name: text for name, text in self.identity().items() if name != "clock_hz"}
        keys = [{**what, "layer": layer} for layer in layers]
        missing = {digest(key): key for key in keys if self._kept.get(key) is None}
        if missing:
            self._search(list(missing.values()), run)
        found = (self._kept.get(key) for key in keys)
        return [cost for cost in found if cost is not None]

    def _search(self, keys: Sequence[Mapping[str, Any]], run: Run) -> None:
        request = {
            "hardware": self._design.hardware,
            "mapping": mapping(self._design),
            "search": _SEARCH,
            "kept": str(self._kept.folder.absolute()),
            "keys": keys,
        }
        argv = [sys.executable, "-P", "-m", "agents.emulated.zigzag_search"]
        with tempfile.TemporaryDirectory(prefix="farm-zigzag-") as folder:
            finished = run(argv, Path(folder), json.dumps(request))
        if finished.status != 0:
            raise DeviceUnfit(f"ZigZag cannot map a layer: {finished.last_words}")


class ZigzagAgent(EstimatorAgent):
    """Estimates networks on an accelerator."""

    options: ClassVar[type[BaseModel]] = ZigzagOptions

    def _make_model(self, options: ZigzagOptions) -> Model:
        return Zigzag(options)
