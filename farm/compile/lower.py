"""From a fused group, or a single ONNX operation, to machine code."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

# TVM reads both when its thread pool starts: it would pin this thread to core 0.
os.environ.setdefault("TVM_BIND_THREADS", "0")
os.environ.setdefault("TVM_NUM_THREADS", "1")

import onnx
import tvm
from tvm import relax, tirx
from tvm.relax.frontend.onnx import from_onnx

from farm.compile.codegen import kernel as write_kernel
from farm.compile.generic import GenericRule
from farm.compile.groups import Group, Operation, Shape
from farm.compile.kernels import Kernel, Step
from farm.compile.target import Isa
from farm.errors import BuildError


def build(kernel: Group | Operation, name: str, target: Any, isa: Isa) -> Kernel:
    """The kernel for a resolved target; its symbols start with `name`. Raises BuildError."""
    if isinstance(kernel, Group):
        function = write_kernel(kernel, isa).with_attr("global_symbol", name)
        arguments = tuple(range(len(kernel.operands) + 1))
        return Kernel(_code({name: function}, target), (Step(name, arguments),))
    return _Imported(kernel, name, target, isa).kernel()


def _code(functions: dict[str, Any], target: Any) -> bytes:
    module = tvm.tirx.build(tvm.IRModule(functions), target=target)
    with tempfile.TemporaryDirectory(prefix="farm-kernel-") as folder:
        path = Path(folder) / "kernel.o"
        module.write_to_file(str(path))
        return path.read_bytes()


class _Imported:
    """The kernels that TVM's importer and passes make of an operation."""

    def __init__(self, operation: Operation, name: str, target: Any, isa: Isa) -> None:
        self.operation, self.name, self.target = operation, name, target
        self.module = self._module(isa)
        self.main = self.module["main"]
        self.numbers: dict[str, int] = {
            str(param.name_hint): index for index, param in enumerate(self.main.params)
        }
        self.temporaries: list[Shape] = []

    def _module(self, isa: Isa) -> Any:
        try:
            model = onnx.load_model_from_string(self.operation.model)
            module = from_onnx(model)
            with self.target:
                return tvm.transform.Sequential(
                    [
                        relax.transform.DecomposeOpsForInference(),
                        relax.transform.CanonicalizeBindings(),
                        relax.transform.LegalizeOps(),
                        relax.transform.FoldConstant(),
                        relax.transform.AnnotateTIROpPattern(),
                        relax.transform.FuseOps(),
                        relax.transform.FuseTIR(),
                        relax.transform.DeadCodeElimination(),
                        GenericRule(isa),
                    ]
                )(module)
        # The importer raises whatever the code of an operator happens to raise.
        except Exception as error:
            reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
            raise BuildError(f"TVM does not import {self.operation.name}: {reason[0]}") from error

    def kernel(self) -> Kernel:
        blocks = self.main.body.blocks
        bindings = [binding for block in blocks for binding in block.bindings]
        output = self.main.body.body
        steps = [self._step(binding, output) for binding in bindings]
        symbols = {
            str(gv.name_hint): f"{self.name}_{gv.name_hint}"
            for gv, function in self.module.functions.items()
            if isinstance(function, tirx.PrimFunc)
        }
        functions = {
            symbols[str(gv.name_hint)]: function.with_attr(
                "global_symbol", symbols[str(gv.name_hint)]
            )
            for gv, function in self.module.functions.items()
            if isinstance(function, tirx.PrimFunc)
        }
        renamed = tuple(Step(symbols[step.symbol], step.arguments) for step in steps)
        return Kernel(_code(functions, self.target), renamed, tuple(self.temporaries))

    def _step(self, binding: Any, output: Any) -> Step:
        call = binding.value
        if not isinstance(call, relax.Call) or getattr(call.op, "name", "") != "relax.call_tir":
            raise BuildError(f"TVM makes no plain kernel of {self.operation.name}")
        function, arguments = call.args[0], call.args[1]
        if binding.var.same_as(output):
            number = len(self.operation.operands)
        else:
            number = len(self.operation.operands) + 1 + len(self.temporaries)
            self.temporaries.append(tuple(int(n) for n in binding.var.ty.shape))
        self.numbers[str(binding.var.name_hint)] = number
        read = tuple(self.numbers[str(argument.name_hint)] for argument in arguments)
        return Step(str(function.name_hint), (*read, number))
