"""Loads compiled networks, with seeded weights; goes to the device with
`agents/on_device/runner.py`.

Python 3.9, the standard library and the slim runtime.
"""

from __future__ import annotations

import ctypes
import hashlib
import math
import struct
import sys
from array import array
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

Json = dict[str, Any]
Values = Sequence[float]


class Refused(Exception):
    """A request that ends in an error reply of this kind
    (`agents.on_device.runner.ERROR_KINDS`)."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]


_PERIOD = 8191
"""Values before the sequence repeats: a prime, so that no two rows of a tensor are alike."""

_BOUNDS = (2.0**-100, 2.0**100)
"""Bounds whose smallest value is still a normal float32, and whose largest is finite."""


def seeded_values(
    seed: int, index: int, count: int, bound: float, positive: bool = False
) -> array[float]:
    """Argument number `index` of a network: (count,) float32 in (-bound, bound), never zero.

    positive: in (0, bound) instead, for networks that take a root or a logarithm of it.

    The same on every host and Python: SHAKE-256 of (seed, index) gives 16-bit integers h, and
    (2 h + 1 - 2^16) / 2^16 is a uniform grid without a zero. Raises ValueError for a bound whose
    values would be denormal or infinite.
    """
    if not _BOUNDS[0] <= bound <= _BOUNDS[1]:
        raise ValueError(f"`bound` must lie in [2^-100, 2^100], got {bound!r}")
    grid = _grid(seed, index, count)
    if positive:
        values = array("f", [(2 * h + 1) / 131072 * bound for h in grid])
    else:
        values = array("f", [(2 * h - 65535) / 65536 * bound for h in grid])
    return _repeated(values, count)


def _grid(seed: int, index: int, count: int) -> tuple[int, ...]:
    """The integers of 16 bits that argument number `index` is made of, up to their period."""
    block = min(count, _PERIOD)
    random_bytes = hashlib.shake_256(f"{seed}/{index}".encode()).digest(2 * block)
    return struct.unpack(f"<{block}H", random_bytes)


def _repeated(values: array[Any], count: int) -> array[Any]:
    """(count,): the values again and again, where there are fewer."""
    return (values * (count // len(values) + 1))[:count] if count > len(values) else values


_CODES = {
    "bool": "B",
    "float32": "f",
    "float64": "d",
    "int16": "h",
    "int32": "i",
    "int64": "q",
    "int8": "b",
    "uint16": "H",
    "uint32": "I",
    "uint64": "Q",
    "uint8": "B",
}
"""Types of tensors, as `array` and `struct` call them; `float16` is known to `struct` alone."""


def seeded_bytes(spec: Json, seed: int, index: int) -> bytes | array[Any]:
    """The memory of argument number `index`: its `seeded_values`, in its type.

    Integers lie in [-bound, bound), or [0, bound) where they are positive: a table's rows, masks.
    Raises ValueError for a type that no network here takes.
    """
    dtype, count, bound = spec["dtype"], math.prod(spec["shape"]), spec["bound"]
    positive = spec.get("positive", False)
    if dtype == "float32":
        return seeded_values(seed, index, count, bound, positive)
    block = min(count, _PERIOD)
    if dtype in ("float16", "float64"):
        values = seeded_values(seed, index, block, bound, positive)
        packed = struct.pack(f"<{block}{'e' if dtype == 'float16' else 'd'}", *values)
        size = count * len(packed) // max(block, 1)
        return (packed * (count // max(block, 1) + 1))[:size]
    if dtype not in _CODES:
        raise ValueError(f"a tensor of {dtype} cannot be filled; known are {sorted(_CODES)}")
    grid = _grid(seed, index, count)
    low, width = (0, int(bound)) if positive else (-int(bound), 2 * int(bound))
    return _repeated(array(_CODES[dtype], [low + (h * width >> 16) for h in grid]), count)


def load_runtime(bundle: Path) -> None:
    """Maps the runtime into this process, which starts no thread; again is no work."""
    try:
        _load_ffi(bundle)
        ctypes.CDLL(str(bundle / "lib/libtvm_runtime.so"), ctypes.RTLD_GLOBAL)
    except (OSError, ImportError) as e:
        raise Refused("unfit", f"no runtime in {bundle} loads: {one_line(e)}") from e


_FFI_PARTS = {
    "_dtype": ("dtype",),
    "_tensor": ("Shape", "device"),
    "container": ("Array",),
    "error": (),
    "module": ("load_module",),
    "registry": ("get_global_func", "register_global_func"),
}
"""What runs networks of `tvm_ffi`. The package itself imports as much again, which takes an
emulated device seconds, for what compiles and what describes classes."""


def _load_ffi(bundle: Path) -> None:
    if "tvm_ffi" in sys.modules:
        return
    # The runtime library needs its symbols.
    ctypes.CDLL(str(bundle / "tvm_ffi/lib/libtvm_ffi.so"), ctypes.RTLD_GLOBAL)
    sys.path.insert(0, str(bundle))
    package = sys.modules["tvm_ffi"] = ModuleType("tvm_ffi")
    package.__path__ = [str(bundle / "tvm_ffi")]
    for part, names in _FFI_PARTS.items():
        module = import_module(f"tvm_ffi.{part}")
        for name in names:
            setattr(package, name, getattr(module, name))


_CPU, _CUDA, _POOLED = 1, 2, 2
"""Types of devices and a kind of allocator, as Relax's virtual machine numbers them."""


class LoadedNetwork:
    """A network that is loaded, with its arguments filled."""

    def __init__(self, library: str, program: Json, seed: int, gpu: int | None = None) -> None:
        """gpu: which one it runs on; None for the CPU.

        Raises `Refused` where `library` is not one that this device can load.
        """
        import tvm_ffi

        self._ffi = tvm_ffi
        self._entry = program["entry"]
        self._device = (_CPU, 0) if gpu is None else (_CUDA, gpu)
        on_cpu = (_CPU, 0, _POOLED)  # where shapes are computed
        try:
            self._vm = tvm_ffi.load_module(library)["vm_load_executable"]()
            own = () if gpu is None else (*self._device, _POOLED)
            self._vm["vm_initialization"](*own, *on_cpu)
        except (RuntimeError, AttributeError) as e:
            raise Refused("artifact", f"{library} does not load: {one_line(e)}") from e
        inputs = enumerate(program["inputs"])
        self._arguments = [self._filled(spec, seed, index) for index, spec in inputs]
        self._vm["save_function"](self._entry, "timed", True, *self._arguments)

    def _filled(self, spec: Json, seed: int, index: int) -> Any:
        memory = seeded_bytes(spec, seed, index)
        shape, dtype = self._ffi.Shape(spec["shape"]), self._ffi.dtype(spec["dtype"])
        allocate = self._ffi.get_global_func("runtime.TVMTensorAllocWithScope")
        tensor = allocate(shape, dtype, self._ffi.device(*self._device), None)
        if isinstance(memory, array):
            address, size_bytes = memory.buffer_info()[0], memory.itemsize * len(memory)
        else:
            buffer = ctypes.create_string_buffer(memory, len(memory))
            address, size_bytes = ctypes.addressof(buffer), len(memory)
        self._copy("runtime.TVMTensorCopyFromBytes", tensor, address, size_bytes)
        return tensor

    def _copy(self, function: str, tensor: Any, address: int, size_bytes: int) -> None:
        copy = self._ffi.get_global_func(function)
        copy(tensor, ctypes.c_void_p(address), size_bytes)

    def outputs(self) -> list[Values]:
        """Runs once; each output flattened."""
        made = self.start()
        several = isinstance(made, (list, tuple, self._ffi.Array))
        return [self.values(tensor) for tensor in (made if several else [made])]

    def start(self) -> Any:
        """Runs once; its output, or several of them, which a GPU may still be computing."""
        return self._vm[self._entry](*self._arguments)

    def values(self, tensor: Any) -> Values:
        """A tensor of the device, once it is computed: flattened."""
        dtype, count = str(tensor.dtype), tensor.numel()
        half = dtype == "float16"
        values = array("H" if half else _CODES[dtype])
        values.frombytes(bytes(values.itemsize * count))
        address, size_bytes = values.buffer_info()[0], values.itemsize * count
        self._copy("runtime.TVMTensorCopyToBytes", tensor, address, size_bytes)
        return struct.unpack(f"<{count}e", values.tobytes()) if half else values

    def sample(
        self,
        runs: int,
        count: int,
        flush_bytes: int = 0,
        before: Callable[[], None] | None = None,
    ) -> list[float]:
        """(count,) seconds per run, each over `runs` runs timed in C++; one run comes before.

        On a GPU by events, which are recorded on the device before and after the runs.

        flush_bytes: so much memory is written before each sample, to empty the caches.
        before: called before each sample.
        """
        evaluator = self._ffi.get_global_func("runtime.RPCTimeEvaluator")
        if before is not None:
            self._ffi.register_global_func(_BEFORE, lambda *_: before(), override=True)
        as_they_come = (0, 100, 0, 1, flush_bytes, _BEFORE if before else "")
        blob = bytes(evaluator(self._vm, "timed", *self._device, runs, count, *as_they_come)())
        return list(struct.unpack(f"@{count}d", blob))


_BEFORE = "farm.before_sample"
"""By this name the timer finds what it calls before each sample."""


def loaded(given: Json, request: Json) -> LoadedNetwork:
    """A network of a request, on the device that the request names.

    Raises `Refused` for a library that is not what was built: its code is never run.
    """
    must_be(given["library"], given["sha256"])
    return LoadedNetwork(given["library"], given["program"], request["seed"], request.get("gpu"))


def must_be(library: str, sha256: str) -> None:
    """Raises `Refused` unless the library is a file with this digest."""
    if not Path(library).is_file():
        raise Refused("artifact", f"{library} does not load: there is no such file")
    digest = hashlib.sha256()
    with Path(library).open("rb") as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            digest.update(piece)
    if digest.hexdigest() != sha256:
        said = f"its SHA-256 is {digest.hexdigest()[:16]}, built was {str(sha256)[:16]}"
        raise Refused("artifact", f"{library} does not load: {said}")


COMPARED = 16
"""Of each output, how many values are compared."""


def compared(output: Values) -> list[float]:
    """(`COMPARED`,) values of an output, evenly spread over it; all of a smaller one."""
    count = len(output)
    if count <= COMPARED:
        return list(output)
    return [output[index * count // COMPARED] for index in range(COMPARED)]


def check_outputs(outputs: Sequence[Values], program: Json, seed: int) -> float | None:
    """The largest deviation from what is expected; None where that is not known for `seed`.

    Raises `Refused` for the outputs of another network, and for NaN and infinity.
    """
    if not all(all(map(math.isfinite, output)) for output in outputs):
        raise Refused("wrong_output", "the output holds NaN or infinity")
    if seed != program["seed"] or not program["outputs"]:
        return None
    if len(outputs) != len(program["outputs"]):
        raise Refused("wrong_output", f"it has {len(outputs)} outputs")
    pairs = enumerate(zip(outputs, program["outputs"]))
    return max(_deviation(number, *pair) for number, pair in pairs)


def _deviation(number: int, output: Values, spec: Json) -> float:
    found, expected, allowed = compared(output), spec["expected"], float(spec["tolerance"])
    if len(found) < len(expected):
        raise Refused("wrong_output", f"output {number} has only {len(output)} values")
    deviation = float(max((abs(a - b) for a, b in zip(found, expected)), default=0.0))
    if deviation > allowed:
        text = f"output {number} is off by {deviation:g}, allowed is {allowed:g}"
        raise Refused("wrong_output", text)
    return deviation
