"""From a fused group, or a single ONNX operation, to machine code."""

from __future__ import annotations

import base64
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

# TVM reads both when its thread pool starts: it would pin this thread to core 0.
os.environ.setdefault("TVM_BIND_THREADS", "0")
os.environ.setdefault("TVM_NUM_THREADS", "1")

import numpy as np
import onnx
import tvm
from tvm import relax, tirx
from tvm.relax.frontend.onnx import from_onnx
from tvm.relax.frontend.onnx.onnx_frontend import _get_convert_map

from farm.compile import functions, operations
from farm.compile.codegen import kernel as write_kernel
from farm.compile.decompose import rewritten, written_out
from farm.compile.generic import GenericRule
from farm.compile.groups import Group, Operation
from farm.compile.kernel_cache import Buffer, Kernel, Step
from farm.compile.target import Isa
from farm.core.errors import BuildError

functions.register()


def build(kernel: Group | Operation, name: str, target: Any, isa: Isa) -> Kernel:
    """The kernel for a resolved target; its symbols start with `name`. Raises BuildError."""
    if isinstance(kernel, Group):
        function = write_kernel(kernel, isa).with_attr("global_symbol", name)
        arguments = tuple(range(len(kernel.operands) + 1))
        return Kernel(_code(_written({name: function}, target)), (Step(name, arguments),))
    direct = _direct(kernel, name, target, isa)
    if direct is not None:
        return direct
    module = _imported(kernel, target, isa)
    read = _Steps(kernel, module["main"])
    symbols = {step.symbol: f"{name}_{step.symbol}" for step in read.steps}
    scheduled = {
        symbol: module[function].with_attr("global_symbol", symbol)
        for function, symbol in symbols.items()
    }
    steps = tuple(Step(symbols[step.symbol], step.arguments) for step in read.steps)
    module = tirx.build(tvm.IRModule(scheduled), target=target)
    return Kernel(_code(module), steps, tuple(read.buffers))


def _direct(operation: Operation, name: str, target: Any, isa: Isa) -> Kernel | None:
    """The kernel of an operation that we write ourselves."""
    model = onnx.load_model_from_string(operation.model)
    written = operations.written(model, isa)
    if written is None:
        return None
    known = operations.constants(model)
    given = [value.name for value in model.graph.input]
    numbers, buffers = {value: i for i, value in enumerate(given)}, []
    for value, data in known.items():
        buffers.append(_constant(data))
        numbers[value] = operation.operands + len(buffers)
    read = [numbers[value] for value in model.graph.node[0].input if value]
    code = _code(_written({name: written.with_attr("global_symbol", name)}, target))
    return Kernel(code, (Step(name, (*read, operation.operands)),), tuple(buffers))


def _constant(values: np.ndarray) -> Buffer:
    data = base64.b64encode(values.tobytes()).decode()
    return Buffer(values.shape, values.dtype.name, data)


def _written(functions: dict[str, Any], target: Any) -> Any:
    """Functions of `codegen` as machine code.

    They are flat, and as simple as LLVM wants them; TVM's own pipeline would take longer than LLVM.
    """
    passes = [
        tirx.transform.BindTarget(target.with_host(target)),
        tirx.transform.MakePackedAPI(),
        tirx.transform.LowerTVMBuiltin(),
        tirx.transform.LowerIntrin(),
    ]
    lowered = tvm.transform.Sequential(passes)(tvm.IRModule(functions))
    return tvm.get_global_func("target.build.llvm")(lowered, target)


def _code(module: Any) -> bytes:
    """The object file of a module of machine code."""
    with tempfile.TemporaryDirectory(prefix="farm-kernel-") as folder:
        path = Path(folder) / "kernel.o"
        module.write_to_file(str(path))
        return path.read_bytes()


_PASSES = (
    relax.transform.DecomposeOpsForInference(),
    relax.transform.CanonicalizeBindings(),
    relax.transform.LegalizeOps(),
    relax.transform.FoldConstant(),
    relax.transform.AnnotateTIROpPattern(),
    relax.transform.FuseOps(),
    relax.transform.FuseTIR(),
    relax.transform.DeadCodeElimination(),
)


def _imported(operation: Operation, target: Any, isa: Isa) -> Any:
    """The module of an operation: a Relax `main` and scheduled kernels.

    What TVM does not import is written out by its definition.
    """
    model = onnx.load_model_from_string(operation.model)
    try:
        return _scheduled(_of_output(model), target, isa)
    # The importer raises whatever the code of an operator happens to raise.
    except Exception as error:
        other = written_out(model, _get_convert_map())
        if other is not None:
            with suppress(Exception):
                return _scheduled(other, target, isa)
        reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise BuildError(f"TVM does not import {operation.name}: {reason[0]}") from error


def _of_output(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model as TVM shall import it; of most operators it gives the first output for any."""
    first = model.graph.node[0].output[0] == model.graph.output[0].name
    other = None if first else written_out(model, _get_convert_map())
    return rewritten(model) if other is None else other


def _scheduled(model: onnx.ModelProto, target: Any, isa: Isa) -> Any:
    module = from_onnx(model)
    with target:
        return tvm.transform.Sequential([*_PASSES, GenericRule(isa)])(module)


class _Steps:
    """Reads the calls of kernels from an operation's `main`."""

    def __init__(self, operation: Operation, main: Any) -> None:
        self.operation = operation
        # By variable: several may have one name.
        self.numbers: dict[Any, Any] = {p: i for i, p in enumerate(main.params)}
        self.buffers: list[Buffer] = []
        self.steps: list[Step] = []
        self.output = self._returned(main)
        for block in main.body.blocks:
            for binding in block.bindings:
                self._read(binding.var, binding.value)

    def _returned(self, main: Any) -> Any:
        """The variable that becomes the output, behind those that only rename it."""
        variable = main.body.body
        bindings = {b.var: b.value for block in main.body.blocks for b in block.bindings}
        while isinstance(bindings.get(variable), tirx.Var):
            variable = bindings[variable]
        return variable

    def _read(self, variable: Any, value: Any) -> None:
        if isinstance(value, tirx.Var):
            self.numbers[variable] = self.numbers[value]
        elif isinstance(value, relax.TupleGetItem):
            self.numbers[variable] = self.numbers[value.tuple_value][value.index]
        elif isinstance(value, relax.Call) and getattr(value.op, "name", "") == "relax.call_tir":
            self._call(variable, value)
        else:
            raise BuildError(f"TVM makes no plain kernels of {self.operation.name}")

    def _call(self, variable: Any, call: Any) -> None:
        kind = call.ty_args[0]
        made = (
            [self._made(variable, kind)]
            if not isinstance(kind, relax.TupleType)
            else [self._temporary(field) for field in kind.fields]
        )
        self.numbers[variable] = made[0] if not isinstance(kind, relax.TupleType) else made
        read = [self._argument(argument) for argument in call.args[1]]
        self.steps.append(Step(str(call.args[0].name_hint), (*read, *made)))

    def _made(self, variable: Any, kind: Any) -> int:
        is_output = variable.same_as(self.output)
        return self.operation.operands if is_output else self._temporary(kind)

    def _temporary(self, kind: Any) -> int:
        return self._buffer(Buffer(tuple(int(n) for n in kind.shape), str(kind.dtype)))

    def _argument(self, argument: Any) -> int:
        if isinstance(argument, tvm.ir.expr.Constant):
            return self._buffer(_constant(argument.value.numpy()))
        return int(self.numbers[argument])

    def _buffer(self, buffer: Buffer) -> int:
        self.buffers.append(buffer)
        return self.operation.operands + len(self.buffers)
