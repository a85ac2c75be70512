"""A GPU that computes nothing, built from `cuda_stand_in.c`: the host's side of CUDA is real."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

from agents.runtime.bundle import host_bundle

SOURCE = Path(__file__).with_suffix(".c")


def driver_here() -> bool:
    """Whether this computer has a real driver."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def build(folder: Path) -> Path:
    """Puts the driver's libraries into `folder`; the slim runtime with a stand-in for CUDA's."""
    runtime = folder / "runtime"
    shutil.copytree(host_bundle("cuda"), runtime)
    _compile("DRIVER", folder / "libcuda.so.1")
    _compile("MANAGEMENT", folder / "libnvidia-ml.so.1")
    versions = folder / "versions.map"
    versions.write_text("libcudart.so.13 { global: *; };\n")
    library = runtime / "lib/libcudart.so.13"
    library.unlink()
    _compile("RUNTIME", library, f"-Wl,--version-script={versions}")
    return runtime


def _compile(part: str, path: Path, *more: str) -> None:
    flags = ["-shared", "-fPIC", "-Wall", "-Werror", "-Wno-unused-function", f"-D{part}"]
    name = f"-Wl,-soname,{path.name}"
    subprocess.run(["gcc", *flags, name, *more, "-o", path, SOURCE], check=True)
