"""The test graphs of the installed onnx package: which are within reach, and who computes them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.version_converter
from google.protobuf.message import DecodeError
from onnx import ModelProto, TensorProto, numpy_helper

from benchmarks.networks import host_target

FOLDERS = ("light", "pytorch-converted", "pytorch-operator", "simple")
"""What the package ships as files. The graphs of single operators ("node") it makes when asked."""

Array = np.ndarray[Any, Any]

OLDEST = 7
"""The opset from which on onnxruntime 1.31 has all operators."""

_NEWEST_IR = 10
"""An IR version that onnxruntime takes: it refuses files of newer ones for nothing but that."""

_TYPES = {"FLOAT", "FLOAT16", "INT8", "UINT8", "INT32", "INT64", "BOOL"}

_VALUE_SHAPED = {"Compress", "NonMaxSuppression", "NonZero", "Unique"}
"""Operators whose output has as many elements as the values of their input say; so has a `Range`
of an input."""

_IDLE = {"Constant", "ConstantOfShape", "Dropout", "Identity", "Shape", "Size"}
"""Operators that say a shape, a constant or their input: a graph of nothing else has no work."""

_RANDOM = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike"}
_RANDOM |= {"RandomUniform", "RandomUniformLike"}

_RELATIVE_TOLERANCE = {"f": 1e-4, "half": 5e-3}
"""As the farm allows: `farm.compile.oracle`."""


@dataclass(frozen=True)
class Graph:
    """path: of the file. values: of its inputs, as the package's test gives them."""

    name: str
    path: Path
    values: Mapping[str, Array]


def graphs(folder: Path) -> Iterator[Graph]:
    """All graphs; what is no file yet is written to `folder`."""
    yield from shipped()
    yield from _nodes(folder)


def shipped() -> Iterator[Graph]:
    """The graphs that are files."""
    root = Path(onnx.__file__).parent / "backend" / "test" / "data"
    for path in sorted((root / "light").glob("*.onnx")):
        yield Graph(f"light/{path.stem}", path, {})
    for kind in FOLDERS[1:]:
        for path in sorted((root / kind).glob("*/model.onnx")):
            yield Graph(f"{kind}/{path.parent.name}", path, _stored_values(path))


def _stored_values(path: Path) -> dict[str, Array]:
    values = {}
    for number, name in enumerate(_inputs(onnx.load(path))):
        stored = path.parent / "test_data_set_0" / f"input_{number}.pb"
        if stored.exists():
            tensor = TensorProto()
            try:
                tensor.ParseFromString(stored.read_bytes())
                values[name] = numpy_helper.to_array(tensor)
            except (DecodeError, TypeError, ValueError):  # a sequence: out of reach anyway
                continue
    return values


def _nodes(folder: Path) -> Iterator[Graph]:
    """The graphs of single operators, and of their definitions as functions."""
    from onnx.backend.test.case.node import collect_testcases

    for case in sorted(collect_testcases(None), key=lambda case: str(case.name)):
        path = folder / f"{case.name}.onnx"
        onnx.save(case.model, path)
        inputs = case.data_sets[0][0] if case.data_sets else []
        names = [value.name for value in case.model.graph.input]
        arrays = {n: v for n, v in zip(names, inputs, strict=False) if isinstance(v, np.ndarray)}
        yield Graph(f"node/{case.name}", path, arrays)


def _inputs(model: ModelProto) -> dict[str, Any]:
    initialized = {tensor.name for tensor in model.graph.initializer}
    return {v.name: v for v in model.graph.input if v.name not in initialized}


# Within reach


def out_of_reach(graph: Graph) -> str | None:
    """Why a graph is nothing that a farm of static float networks can measure; None if it is.

    Within reach: tensors of the usual types in and out, one float32 input at least, something to
    compute, operators of ONNX's own domain that compute the same every time, shapes that do not
    depend on values, no empty tensors, no control flow, and onnxruntime runs it.
    """
    model = onnx.load(graph.path)
    values = [*_inputs(model).values(), *model.graph.output]
    if not all(value.type.HasField("tensor_type") for value in values):
        return "a sequence, a map or an optional value"
    kinds = [TensorProto.DataType.Name(v.type.tensor_type.elem_type) for v in values]
    if other := sorted(set(kinds) - _TYPES):
        return f"type {other[0].lower()}"
    if "FLOAT" not in kinds[: len(_inputs(model))]:
        return "no float32 input"
    if any(0 in value.shape for value in graph.values.values()):
        return "an empty tensor"
    for node in [*model.graph.node, *(n for f in model.functions for n in f.node)]:
        if why := _node_out_of_reach(node):
            return why
        if node.op_type == "Range" and not set(_inputs(frozen(graph))).isdisjoint(node.input):
            return "a shape depends on values"
    if all(node.op_type in _IDLE for node in model.graph.node):
        return "nothing to compute"
    try:
        run_reference(frozen(graph), seeded(graph, 0))
    # onnxruntime's errors have no class in common; nor have those of onnx's converter.
    except Exception as error:  # noqa: BLE001
        return f"onnxruntime: {_line(error)}"
    return None


def _node_out_of_reach(node: Any) -> str | None:
    attributes = {a.name: a for a in node.attribute}
    if node.domain not in ("", "ai.onnx"):
        return f"domain {node.domain}"
    if any(a.type in (a.GRAPH, a.GRAPHS) for a in node.attribute):
        return f"control flow ({node.op_type})"
    if node.op_type in _RANDOM:
        return "random"
    if "Sequence" in node.op_type and node.op_type != "ReverseSequence":
        return "a sequence, a map or an optional value"
    if node.op_type in _VALUE_SHAPED:
        return "a shape depends on values"
    training = "training_mode" in attributes and attributes["training_mode"].i
    if training or (node.op_type == "Dropout" and len(node.input) > 2):
        return "training"
    return None


def frozen(graph: Graph) -> ModelProto:
    """The graph with inputs that are shapes, axes or bounds of indices as constants.

    Tests of single operators pass them as inputs, where networks have constants. Those whose shapes
    are known without stay as they are.
    """
    model = onnx.load(graph.path)
    if _is_static(model):
        return model
    for name, value in _inputs(model).items():
        kind = value.type.tensor_type.elem_type
        if kind in (TensorProto.INT64, TensorProto.INT32) and name in graph.values:
            model.graph.input.remove(value)
            model.graph.initializer.append(numpy_helper.from_array(graph.values[name], name))
    scales = {"Resize", "Upsample"}
    for node in model.graph.node:
        for name in node.input[1:] if node.op_type in scales else ():
            if name in graph.values and name in _inputs(model):
                model.graph.input.remove(_inputs(model)[name])
                model.graph.initializer.append(numpy_helper.from_array(graph.values[name], name))
    return model


def _is_static(model: ModelProto) -> bool:
    """Whether onnx infers the shape of all outputs from those of the inputs."""
    bare = ModelProto()
    bare.CopyFrom(model)
    for value in bare.graph.output:
        value.type.tensor_type.ClearField("shape")
    del bare.graph.value_info[:]
    try:
        found = onnx.shape_inference.infer_shapes(bare, data_prop=True).graph.output
    except onnx.shape_inference.InferenceError:
        return False
    return all(
        value.type.tensor_type.HasField("shape")
        and all(d.HasField("dim_value") for d in value.type.tensor_type.shape.dim)
        for value in found
    )


def seeded(graph: Graph, seed: int) -> dict[str, Array]:
    """Inputs of the frozen graph: floats are seeded in (0, 1), which suits roots and logarithms;
    all others are the test's, since indices must lie in their table."""
    rng = np.random.default_rng(seed)
    made = {}
    for name, value in _inputs(frozen(graph)).items():
        tensor = value.type.tensor_type
        shape = tuple(d.dim_value or 1 for d in tensor.shape.dim)
        kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        given = graph.values.get(name)
        shape = given.shape if given is not None else shape
        if tensor.elem_type == TensorProto.FLOAT or given is None:
            made[name] = rng.uniform(0.01, 0.99, shape).astype(kind)
        else:
            made[name] = given
    return made


def run_reference(model: ModelProto, values: Mapping[str, Array]) -> list[Array]:
    """onnxruntime's outputs; a graph of opset 6 or less is converted, as the farm does it."""
    import onnxruntime

    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), OLDEST)
    model.ir_version = min(model.ir_version, _NEWEST_IR)
    if opset < OLDEST:
        model.ir_version = _NEWEST_IR
        model = onnx.version_converter.convert_version(model, 17)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    outputs: list[Array] = session.run(None, dict(values))
    return outputs


# Who computes it


def built(path: Path, folder: Path) -> Any:
    """The artifact of a file, imported, compiled and checked; raises what the farm raises."""
    from farm.compile.artifacts import ArtifactStore
    from farm.compile.build import build
    from farm.spaces.onnx.files import import_file

    (data,) = import_file(path).values()
    return build(onnx.load_from_string(data), host_target(), ArtifactStore(folder))


def ours(graph: Graph, folder: Path, _seed: int) -> None:
    """Imports, compiles and checks a graph; the farm seeds its inputs itself."""
    path = graph.path
    with tempfile.TemporaryDirectory(prefix="farm-graph-") as fresh:
        model = frozen(graph)
        if model != onnx.load(graph.path):
            path = Path(fresh) / "model.onnx"
            onnx.save(model, path)
        built(path, folder)


def stock(graph: Graph, _folder: Path, seed: int) -> None:
    """Imports, compiles and runs a graph as TVM does without us, and compares all outputs."""
    import tvm
    from tvm import relax
    from tvm.relax.frontend.onnx import from_onnx

    model, values = frozen(graph), seeded(graph, seed)
    wanted = run_reference(model, values)
    target = _tvm_target()
    module = from_onnx(model, shape_dict={name: list(v.shape) for name, v in values.items()})
    pipeline = relax.get_default_pipeline(target)
    executable = tvm.compile(module, target, relax_pipeline=pipeline)
    machine = relax.VirtualMachine(executable, tvm.cpu())
    found = machine["main"](*map(tvm.runtime.tensor, values.values()))
    outputs = [found] if hasattr(found, "numpy") else list(found)
    for one, other in zip(outputs, wanted, strict=True):
        _compare(one.numpy(), other)


@cache
def _tvm_target() -> Any:
    import tvm

    return tvm.target.Target(host_target())


class Different(Exception):
    """An output that is another than onnxruntime's."""


def _compare(found: Array, wanted: Array) -> None:
    if found.shape != wanted.shape:
        raise Different(f"shape {found.shape} instead of {wanted.shape}")
    if wanted.dtype.kind != "f":
        if not np.array_equal(found, wanted):
            raise Different("other integers")
        return
    share = _RELATIVE_TOLERANCE["half" if wanted.dtype.itemsize == 2 else "f"]
    allowed = share * float(np.abs(wanted).max(initial=0)) + 1e-7
    if not np.allclose(found, wanted, rtol=0, atol=allowed, equal_nan=True):
        raise Different(f"differs by {float(np.abs(found - wanted).max()):g}")


# In child processes that may die


Work = Callable[[Graph, Path, int], Any]


def judged(error: Exception) -> tuple[str, str]:
    """The outcome that an error means, and its reason in a line."""
    line = _line(error)
    if isinstance(error, Different) or "differs from onnxruntime" in line or "NaN" in line:
        return "wrong", line
    return ("crash" if " died " in line else "refused"), line


def _line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    text = lines[-1] if lines else type(error).__name__
    return " ".join(f"{type(error).__name__}: {text}".split())[:300]


def _serve(work: Work, folder: Path, seed: int, pipe: Any) -> None:
    os.dup2(2, 1)  # what TVM prints is not what the benchmark says
    while True:
        graph = pipe.recv()
        try:
            pipe.send(("verified", work(graph, folder, seed)))
        # Stock TVM raises whatever an importer or a pass happens to raise.
        except Exception as error:  # noqa: BLE001
            pipe.send(judged(error))


class Child:
    """A process that does one kind of work for one graph after the other, and a fresh one after
    it died or took too long."""

    def __init__(self, work: Work, folder: Path, timeout_s: float, seed: int) -> None:
        self._work, self._folder, self._seed = work, folder, seed
        self._timeout_s = timeout_s
        self._process: Any = None
        self._pipe: Any = None

    def __call__(self, graph: Graph) -> tuple[str, Any]:
        """The outcome, and its reason or what the work returned."""
        if self._process is None:
            self._start()
        self._pipe.send(graph)
        try:
            if self._pipe.poll(self._timeout_s):
                found: tuple[str, Any] = self._pipe.recv()
                return found
        except EOFError:
            self.close()
            return "crash", "the process died"
        self.close()
        return "timeout", f"took longer than {self._timeout_s:g} s"

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None

    def _start(self) -> None:
        context = get_context("spawn")
        self._pipe, other = context.Pipe()
        arguments = (self._work, self._folder, self._seed, other)
        self._process = context.Process(target=_serve, args=arguments, daemon=False)
        self._process.start()
        other.close()
