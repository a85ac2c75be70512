"""Links object files and a network's program to a shared library. Needs neither TVM nor LLVM."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from farm.compile.deaths import Watched
from farm.core.errors import BuildError, CompilerLost

_PROGRAM_SYMBOL = "__tvm_ffi__library_bin"
"""Where TVM's loader looks for what is not machine code (tvm_ffi/extra/module.h)."""

_TIMEOUT_S = 60.0


def link(objects: Sequence[Path], program: bytes, triple: str) -> bytes:
    """A shared library of `objects` with `program` in it. Raises BuildError.

    triple: of the target, such as `aarch64-linux-gnu`.
    """
    linker = find_linker(triple)
    with tempfile.TemporaryDirectory(prefix="farm-link-") as folder:
        (Path(folder) / "program").write_bytes(program)
        flags = ["-shared", "-s", "-z", "noexecstack", "-o", "network.so"]
        # `-b binary` makes the file's bytes a section with a symbol at its start.
        embedded = ["-b", "binary", "program", f"--defsym={_PROGRAM_SYMBOL}=_binary_program_start"]
        inputs = [str(path.absolute()) for path in objects]
        if not inputs:
            # Without any object file, a linker leaves out what makes a library loadable.
            _run([linker, "-r", "-o", "empty.o", "-b", "binary", os.devnull], folder)
            inputs = ["empty.o"]
        _run([linker, *flags, *inputs, *embedded], folder)
        return (Path(folder) / "network.so").read_bytes()


def find_linker(triple: str) -> str:
    """The linker for a target: the cross one, LLVM's, or the host's own. Raises BuildError."""
    architecture = triple.split("-")[0]
    names = [f"{architecture}-linux-gnu-ld", "ld.lld"]
    if architecture == platform.machine():
        names.append("ld")
    for name in names:
        if found := shutil.which(name):
            return found
    raise BuildError(
        f"no linker for {triple}: looked for {', '.join(names)}; "
        f"install binutils-{architecture.replace('_', '-')}-linux-gnu or lld"
    )


def _run(command: Sequence[str], folder: str) -> None:
    watched = Watched()
    try:
        subprocess.run(
            command, cwd=folder, check=True, capture_output=True, text=True, timeout=_TIMEOUT_S
        )
    except subprocess.CalledProcessError as error:
        if error.returncode < 0:
            killed, died = watched.by_somebody(error.returncode), f"{command[0]} died of signal"
            raise CompilerLost(f"{died} {-error.returncode}", killed) from error
        last = error.stderr.strip().splitlines()[-1:] or ["no message"]
        raise BuildError(f"{command[0]} failed: {last[0]}") from error
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"{command[0]} took longer than {_TIMEOUT_S:g} s") from error
