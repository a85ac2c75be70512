"""Files and texts of users with mistakes in them, and what reads them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import onnx
from onnx import ModelProto

from benchmarks import mutations
from benchmarks.onnx_graphs import shipped
from farm.core.errors import NetworkSyntaxError
from farm.inventory.config import load
from farm.spaces import SPACES, space
from farm.spaces.onnx.files import import_file

Texts = list[bytes]
Reader = tuple[Sequence[bytes], Callable[[bytes], object]]

_ROOT = Path(__file__).parents[1]
_SMALL_BYTES = 30_000
"""Of an ONNX file that is damaged: more would mostly be weights."""


def clusters(count: int, rng: random.Random, folder: Path) -> Reader:
    """cluster.yaml as it is shipped, and the examples."""
    texts = [
        path.read_bytes() for path in (_ROOT / "cluster.yaml", *(_ROOT / "examples").glob("*.yaml"))
    ]
    made = [_edited(rng.choice(texts), rng) for _ in range(count)]

    return made, _from_file(folder / "cluster.yaml", load)


def _edited(text: bytes, rng: random.Random) -> bytes:
    """Damaged, or with values that make no sense."""
    if rng.random() < 0.4:
        return mutations.damaged(text, rng)
    lines = text.decode().splitlines()
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(lines))
        key, colon, _ = lines[at].partition(":")
        junk = rng.choice(
            ("", "-1", ".nan", ".inf", "1e999", "[", "{a: 1}", "&a [*a]", "!!python/x y")
        )
        shuffled = rng.choice(
            (f"{key}{colon} {junk}", f"  {lines[at]}", lines[at].strip(), f"{key}")
        )
        lines[at] = rng.choice((shuffled, shuffled, lines[rng.randrange(len(lines))]))
    return "\n".join(lines).encode()


def cells(count: int, rng: random.Random, folder: Path) -> Reader:  # noqa: ARG001
    """Networks as a person types them."""
    import numpy as np

    generator = np.random.default_rng(rng.randrange(1 << 32))
    names = [n.code for name in SPACES for n in space(name).sample(20, generator)]
    made = [mutations.damaged(rng.choice(names).encode(), rng) for _ in range(count)]

    def read(text: bytes) -> None:
        typed = text.decode(errors="surrogateescape")
        for name in SPACES:
            try:
                network = space(name).parse(typed)
            except NetworkSyntaxError:
                continue
            assert space(name).parse(network.code) == network

    return made, read


def models(count: int, rng: random.Random, folder: Path) -> Reader:
    """ONNX files: the small ones of the installed package, damaged, or with wrong parts."""
    paths = [graph.path for graph in shipped() if graph.path.stat().st_size < _SMALL_BYTES]
    files = [path.read_bytes() for path in sorted(paths)]
    made = [_wrong_model(rng.choice(files), rng) for _ in range(count)]

    return made, _from_file(folder / "model.onnx", import_file)


def _from_file(path: Path, reader: Callable[[Path], object]) -> Callable[[bytes], object]:
    def read(text: bytes) -> None:
        path.write_bytes(text)
        reader(path)

    return read


def _wrong_model(data: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.4:
        return mutations.damaged(data, rng)
    model = onnx.load_from_string(data)
    for _ in range(rng.randint(1, 3)):
        rng.choice(_CHANGES)(model, rng)
    return model.SerializeToString()


_SIZES = (0, -1, 1, 3, 2**31, 2**62, -(2**63))


def _axis(model: ModelProto, rng: random.Random) -> None:
    """Another size of an input, an output or a weight."""
    values = [*model.graph.input, *model.graph.output]
    dims = [dim for value in values for dim in value.type.tensor_type.shape.dim]
    if dims:
        rng.choice(dims).dim_value = rng.choice(_SIZES)


def _weight(model: ModelProto, rng: random.Random) -> None:
    for tensor in model.graph.initializer[:1] if model.graph.initializer else ():
        if tensor.dims:
            tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(_SIZES)
        if rng.random() < 0.3:
            tensor.data_type = rng.randrange(30)
        if rng.random() < 0.3:
            entry = tensor.external_data.add()
            entry.key, entry.value = (
                "location",
                rng.choice(("../../etc/passwd", "/dev/zero", "a\x00")),
            )
            tensor.data_location = onnx.TensorProto.EXTERNAL


def _node(model: ModelProto, rng: random.Random) -> None:
    """Another operator, or other ends of it."""
    if not model.graph.node:
        return
    node = rng.choice(model.graph.node)
    names = [name for other in model.graph.node for name in (*other.input, *other.output)]
    how = rng.randrange(5)
    if how == 0:
        node.op_type = rng.choice(("Conv", "Reshape", "If", "Loop", "Range", "Tile", "", "Nothing"))
    elif how == 1 and node.input:
        node.input[rng.randrange(len(node.input))] = rng.choice((*names, "", "nowhere"))
    elif how == 2 and node.output:
        node.output[rng.randrange(len(node.output))] = rng.choice((*names, ""))
    elif how == 3:
        model.graph.node.remove(node)
    else:
        model.graph.node.append(node)


def _attribute(model: ModelProto, rng: random.Random) -> None:
    found = [a for node in model.graph.node for a in node.attribute]
    if not found:
        return
    attribute = rng.choice(found)
    if rng.random() < 0.3:
        attribute.type = rng.randrange(15)
    elif attribute.ints:
        attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(_SIZES)
    else:
        attribute.i, attribute.f = rng.choice(_SIZES), float("nan")


def _header(model: ModelProto, rng: random.Random) -> None:
    model.ir_version = rng.choice((0, 1, 3, 10, 2**40))
    for opset in model.opset_import:
        opset.version = rng.choice((0, -1, 1, 7, 11, 21, 2**40))


_CHANGES = (_axis, _weight, _node, _attribute, _node, _header)

READERS = {"cluster.yaml": clusters, "cells": cells, "onnx": models}
