"""CUDA libraries, compiled where no GPU and no driver is: the client of a worker for that.

TVM takes the CUDA driver and runtime for granted: without them it silently puts source code into a
library where machine code belongs. The worker gets stand-ins for both, which report no device, and
what it makes is looked at before anybody has it.
"""

from __future__ import annotations

import atexit
import base64
import re
import struct
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from farm.compile.compiler import Compiler
from farm.compile.target import canonical
from farm.core.errors import BuildError
from farm.core.values import Target

if TYPE_CHECKING:
    import onnx

_FATBIN_MAGIC = struct.pack("<IHH", 0xBA55ED50, 1, 16)
"""How a fat binary begins: the magic number, the version, the size of the header."""

_ENTRY_BYTES = 64
"""The size of the header of an entry in a fat binary."""

_MACHINE_CODE = 2
"""The kind of an entry in a fat binary; 1 is PTX, which a driver would compile."""

_NO_DEVICE = 100
"""CUDA_ERROR_NO_DEVICE, and cudaErrorNoDevice."""

_TIMEOUT_S = 60.0


def is_cuda(target: Target) -> bool:
    """Whether a target is for CUDA, as far as that shows without TVM."""
    if isinstance(target, str):
        return target.startswith("nvidia/")
    return target.get("kind") == "cuda" or is_cuda(str(target.get("tag", "")))


@cache
def nvcc_version() -> str:
    """What the nvcc on the PATH calls itself; empty without one, for which a build fails."""
    try:
        return _output(["nvcc", "--version"]).strip()
    except BuildError:
        return ""


def library(model: onnx.ModelProto, target: Target) -> bytes:
    """A prepared model as a library for CUDA. Raises TargetError, BuildError.

    target: a tag such as `nvidia/nvidia-h100`, or `{"kind": "cuda", "arch": "sm_90"}`.
    """
    return compiler().library(model, target)


class CudaCompiler(Compiler):
    """A worker whose TVM finds CUDA."""

    def __init__(self) -> None:
        super().__init__()
        self._stubs: tempfile.TemporaryDirectory[str] | None = None

    def library(self, model: onnx.ModelProto, target: Target) -> bytes:
        """See the function of this name."""
        doing = f"compiling {model.graph.name!r} for {canonical(target)}"
        text = base64.b64encode(model.SerializeToString()).decode()
        reply = self._request(doing, op="cuda", model=text, target=target)
        made = base64.b64decode(reply["library"])
        check(made, reply["arch"])
        return made

    def close(self) -> None:
        super().close()
        if self._stubs is not None:
            self._stubs.cleanup()
            self._stubs = None

    def _argv(self) -> list[str]:
        self._stubs = tempfile.TemporaryDirectory(prefix="farm-cuda-")
        write_stubs(_runtime_library(), Path(self._stubs.name))
        settings = [f"LD_LIBRARY_PATH={self._stubs.name}", "TVM_CUDA_COMPILE_MODE=nvcc"]
        return ["env", *settings, *super()._argv()]


@cache
def compiler() -> CudaCompiler:
    """The compiler of this process."""
    made = CudaCompiler()
    atexit.register(made.close)
    return made


def check(library: bytes, arch: str | None) -> None:
    """Raises BuildError unless a library holds machine code for `arch`, or none where that is None,
    and no CUDA source."""
    if b"__global__" in library:
        raise BuildError("the library holds CUDA source in place of machine code; is nvcc intact?")
    found = architectures(library)
    if found != ([] if arch is None else [int(re.sub(r"\D", "", arch))]):
        raise BuildError(f"the library must hold machine code for {arch}, and holds it for {found}")


def architectures(library: bytes) -> list[int]:
    """The architectures, such as 90, that a library holds machine code for."""
    return sorted(set(_machine_code(library)))


def _machine_code(library: bytes) -> Iterator[int]:
    """The architecture, such as 90, of each piece of machine code in all fat binaries."""
    start = library.find(_FATBIN_MAGIC)
    while start >= 0:
        (size,) = struct.unpack_from("<Q", library, start + 8)
        place, end = start + 16, min(start + 16 + size, len(library) - _ENTRY_BYTES)
        while place < end:
            kind, header, padded = struct.unpack_from("<HxxIQ", library, place)
            if kind == _MACHINE_CODE:
                yield struct.unpack_from("<I", library, place + 28)[0]
            place += max(header + padded, _ENTRY_BYTES)
        start = library.find(_FATBIN_MAGIC, max(place, start + 16))


def write_stubs(library: Path, folder: Path) -> None:
    """Puts the CUDA libraries that `library` needs into `folder`; all they say is: no device."""
    dynamic, symbols = _output(["readelf", "-dW", library]), _output(["nm", "-Du", library])
    wanted = [line.split()[-1].partition("@") for line in symbols.splitlines()]
    for name in re.findall(r"\[(libcuda(?:rt)?\.so\.\d+)\]", dynamic):
        # The runtime's symbols have a version, its library's name; the driver's have none.
        runtime = name.startswith("libcudart")
        version = name if runtime else ""
        names = [n for n, _, v in wanted if v == version and re.match(r"cu(da)?[A-Z]", n)]
        _compile_stub(folder / name, names, version)


def _compile_stub(path: Path, names: Sequence[str], version: str) -> None:
    source, versions = path.with_suffix(".c"), path.with_suffix(".map")
    source.write_text("".join(f"int {n}(void) {{ return {_NO_DEVICE}; }}\n" for n in names))
    versions.write_text(f"{version} {{ global: *; }};\n")
    flags = ["-shared", "-fPIC", f"-Wl,-soname,{path.name}", f"-Wl,--version-script={versions}"]
    _output(["cc", *flags, "-o", path, source])


def _runtime_library() -> Path:
    spec = find_spec("tvm")
    if spec is None or spec.origin is None:
        raise BuildError("the package 'tvm' is not installed; run 'make setup'")
    return Path(spec.origin).parent / "lib/libtvm_runtime_cuda.so"


def _output(argv: Sequence[str | Path]) -> str:
    try:
        done = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=_TIMEOUT_S)
    except FileNotFoundError as error:
        raise BuildError(f"CUDA targets need {argv[0]}; install gcc and binutils") from error
    except subprocess.CalledProcessError as error:
        raise BuildError(f"{argv[0]} fails: {error.stderr.strip()[-300:]}") from error
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"{argv[0]} takes longer than {_TIMEOUT_S:g} s") from error
    return done.stdout
