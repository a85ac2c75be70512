"""The slim runtime: what `agents/on_device/runner.py` needs on a device, and no more.

`tvm_ffi`, `typing_extensions` and TVM's runtime libraries, some 10 MB: no compiler, no `tvm`
package, no numpy. They come from the installed wheels where those fit the device, else from wheels
of the same versions that pip downloads. Nothing here imports TVM.
"""

from __future__ import annotations

import hashlib
import json
import platform as host
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from agents.runtime.wheels import Wheel, unpack
from farm.core.errors import DeviceUnfit, UnknownName
from farm.core.hosts import cache_folder

PLATFORMS: Mapping[str, tuple[str, ...]] = {
    "aarch64": ("libtvm_runtime.so",),
    "aarch64-cuda": ("libtvm_runtime.so", "libtvm_runtime_cuda.so", "libcudart.so.13"),
    "x86_64": ("libtvm_runtime.so",),
    "x86_64-cuda": ("libtvm_runtime.so", "libtvm_runtime_cuda.so", "libcudart.so.13"),
}
"""The libraries on each platform; a name begins with the machine's, as `uname -m` says it.
CUDA needs the driver's libcuda besides, which is the device's own."""

_CUDA_RUNTIME = "13.0.96"
"""Of nvidia-cuda-runtime: TVM's library is linked to CUDA 13, and the first of its versions goes
with all of its drivers (from 580 on)."""

_HOST_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"

_DISTRIBUTIONS = {
    "tvm": "apache-tvm",
    "tvm_ffi": "apache-tvm-ffi",
    "typing_extensions": "typing-extensions",
}
"""By the names of their packages."""

_MEMBERS = ("tvm/lib/libtvm_runtime*.so", "tvm_ffi/*", "nvidia/cu13/lib/libcudart.so.*")
"""What is wanted of the wheels."""

_FFI_PATTERNS = (
    "*.py",
    "core*.so",
    "lib/libtvm_ffi*.so",  # the testing library, too: `tvm_ffi.testing` loads it when imported
    *(f"{package}/**/*" for package in ("cpp", "dataclasses", "stub", "testing", "utils")),
)


def host_bundle(accelerator: str = "") -> Path:
    """The `bundle` for this host and its Python. accelerator: `cuda`, or none for the CPU."""
    return bundle("-".join(filter(None, (host.machine(), accelerator))), _HOST_PYTHON)


def bundle(platform: str, python: str) -> Path:
    """The folder of a device's slim runtime, assembled in the cache the first time.

    platform: one of `PLATFORMS`. python: the device's, such as `3.11`; `tvm_ffi` has machine code
    for a single one. The folder's name is the digest of its contents; `manifest.json` in it holds
    the versions. Safe to be called by several processes at once.
    Raises UnknownName, and DeviceUnfit where the wheels are neither installed nor to be had.
    """
    if platform not in PLATFORMS:
        raise UnknownName("platform of a slim runtime", platform, PLATFORMS)
    if not re.fullmatch(r"3\.\d+", python):
        raise DeviceUnfit(f"a device's Python is named like '3.11', got {python!r}")
    packages = {package: _installed(package) for package in _DISTRIBUTIONS}
    wheels = _wheels(platform, python)
    if not wheels:
        return _assembled(_sources(platform, packages))
    versions = {name: version(name) for name in _DISTRIBUTIONS.values()}
    versions |= {wheel.distribution: wheel.version for wheel in wheels.values()}
    note = _cache() / "downloaded" / _digest([platform, python, versions])
    return _noted(note) or _downloaded(platform, packages, wheels, note)


def bundle_versions(bundle: Path) -> dict[str, str]:
    """What a slim runtime is made of: `tvm`, `tvm_ffi` and the `runtime`'s digest."""
    versions: dict[str, str] = _read_manifest(bundle)["versions"]
    return versions


def _wheels(platform: str, python: str) -> dict[str, Wheel]:
    """What a device needs and the installed packages lack, by the name of the package."""
    machine, _, accelerator = platform.partition("-")
    misfits = {
        # TVM's wheel is for every Python, and has what we want of it for any.
        "tvm": None if machine == host.machine() else _HOST_PYTHON,
        "tvm_ffi": None if (machine, python) == (host.machine(), _HOST_PYTHON) else python,
    }
    wheels = {
        package: Wheel(_DISTRIBUTIONS[package], version(_DISTRIBUTIONS[package]), machine, asked)
        for package, asked in misfits.items()
        if asked is not None
    }
    if accelerator == "cuda":
        wheels["nvidia"] = Wheel("nvidia-cuda-runtime", _CUDA_RUNTIME, machine, python)
    return wheels


def _downloaded(
    platform: str, packages: Mapping[str, Path], wheels: Mapping[str, Wheel], note: Path
) -> Path:
    """Assembles a runtime with the files of `wheels`, and notes where it is."""
    _cache().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_cache(), prefix=".wheels-") as text:
        fresh = Path(text)
        for wheel in wheels.values():
            unpack(wheel, _MEMBERS, fresh)
        unpacked = {package: fresh / package / "__init__.py" for package in wheels}
        folder = _assembled(_sources(platform, {**packages, **unpacked}))
        (fresh / "note").write_text(folder.name)
        note.parent.mkdir(exist_ok=True)
        (fresh / "note").replace(note)
    return folder


def _noted(note: Path) -> Path | None:
    """The intact runtime that an earlier download became."""
    try:
        folder = _cache() / note.read_text().strip()
    except OSError:
        return None
    return folder if _complete(folder) else None


def _sources(platform: str, packages: Mapping[str, Path]) -> dict[str, Path]:
    """The file to copy for each path in the runtime; packages: where each one's code begins."""
    ffi, folders = packages["tvm_ffi"].parent, [packages["tvm"].parent / "lib"]
    if "nvidia" in packages:
        folders.append(packages["nvidia"].parent / "cu13/lib")
    libraries = {path.name: path for folder in folders for path in folder.glob("*.so*")}
    files = sorted({path for pattern in _FFI_PATTERNS for path in ffi.glob(pattern)})
    return {
        **{f"tvm_ffi/{path.relative_to(ffi).as_posix()}": path for path in _copied(files)},
        "typing_extensions.py": packages["typing_extensions"],
        **{f"lib/{name}": libraries[name] for name in PLATFORMS[platform]},
    }


def _copied(paths: list[Path]) -> Iterator[Path]:
    return (path for path in paths if path.is_file() and path.suffix != ".pyc")


def _installed(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise DeviceUnfit(f"the package {package!r} is not installed; run 'make setup'")
    return Path(spec.origin)


def _manifest(sources: Mapping[str, Path]) -> dict[str, Any]:
    sums = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in sources.items()}
    versions = {package: version(_DISTRIBUTIONS[package]) for package in ("tvm", "tvm_ffi")}
    sizes_bytes = {name: path.stat().st_size for name, path in sources.items()}
    return {"versions": {**versions, "runtime": _digest(sums)}, "sizes_bytes": sizes_bytes}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _cache() -> Path:
    return cache_folder() / "runtime"


def _read_manifest(folder: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return manifest


def _complete(folder: Path, manifest: Mapping[str, Any] | None = None) -> bool:
    """False for a folder that something, such as a cleaner of caches, took files from.

    manifest: what the folder must be; by default what it says that it is.
    """
    try:
        found = _read_manifest(folder)
        sizes_bytes = found["sizes_bytes"].items()
        intact = all((folder / name).stat().st_size == size for name, size in sizes_bytes)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return False
    return intact and manifest in (None, found)


def _assembled(sources: Mapping[str, Path]) -> Path:
    """The folder of a runtime with these files, copied unless it is there."""
    manifest = _manifest(sources)
    folder = _cache() / str(manifest["versions"]["runtime"])
    if not _complete(folder, manifest):
        _assemble(folder, sources, manifest)
    return folder


def _assemble(folder: Path, sources: Mapping[str, Path], manifest: Mapping[str, Any]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-") as text:
        fresh = Path(text) / "bundle"
        for name, path in sources.items():
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, fresh / name)
        (fresh / "manifest.json").write_text(json.dumps(manifest))
        try:
            fresh.rename(folder)
        except OSError:
            if not _complete(folder, manifest):  # otherwise another process was faster
                folder.rename(Path(text) / "damaged")
                fresh.rename(folder)
