"""The slim runtime: what `agents/runner.py` needs on a device, and no more.

`tvm_ffi`, `typing_extensions` and `libtvm_runtime.so` from the installed wheels, some 10 MB: no
compiler, no `tvm` package, no numpy. Nothing here imports TVM.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from farm.errors import DeviceUnfit

_FFI_PATTERNS = (
    "*.py",
    "core*.so",
    "lib/libtvm_ffi*.so",  # the testing library, too: `tvm_ffi.testing` loads it when imported
    *(f"{package}/**/*" for package in ("cpp", "dataclasses", "stub", "testing", "utils")),
)


def host_bundle() -> Path:
    """The folder of this host's slim runtime, assembled in the cache the first time.

    Its name is the digest of its contents; `manifest.json` in it holds the versions. Safe to be
    called by several processes at once. Raises DeviceUnfit where the wheels are not installed.
    """
    sources = dict(_sources())
    manifest = _manifest(sources)
    folder = _cache() / manifest["runtime"]
    if not _complete(folder, sources, manifest):
        _assemble(folder, sources, manifest)
    return folder


def bundle_versions(bundle: Path) -> dict[str, str]:
    """What a slim runtime is made of: `tvm`, `tvm_ffi` and the `runtime`'s digest."""
    versions: dict[str, str] = json.loads((bundle / "manifest.json").read_text())
    return versions


def _sources() -> Iterator[tuple[str, Path]]:
    """Path in the bundle, and the installed file that it is a copy of."""
    ffi = _installed("tvm_ffi").parent
    for path in sorted({path for pattern in _FFI_PATTERNS for path in ffi.glob(pattern)}):
        if path.is_file() and path.suffix != ".pyc":
            yield f"tvm_ffi/{path.relative_to(ffi).as_posix()}", path
    yield "typing_extensions.py", _installed("typing_extensions")
    yield "lib/libtvm_runtime.so", _installed("tvm").parent / "lib/libtvm_runtime.so"


def _installed(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise DeviceUnfit(f"the package {package!r} is not installed; run 'make setup'")
    return Path(spec.origin)


def _manifest(sources: Mapping[str, Path]) -> dict[str, str]:
    sums = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in sources.items()}
    digest = hashlib.sha256(json.dumps(sums, sort_keys=True).encode()).hexdigest()[:16]
    return {"tvm": version("apache-tvm"), "tvm_ffi": version("apache-tvm-ffi"), "runtime": digest}


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "latency-farm" / "runtime"


def _complete(folder: Path, sources: Mapping[str, Path], manifest: Mapping[str, str]) -> bool:
    """False for a folder that something, such as a cleaner of caches, took files from."""
    try:
        if bundle_versions(folder) != manifest:
            return False
        copies = {folder / name: path for name, path in sources.items()}
        return all(copy.stat().st_size == path.stat().st_size for copy, path in copies.items())
    except (OSError, ValueError):
        return False


def _assemble(folder: Path, sources: Mapping[str, Path], manifest: Mapping[str, str]) -> None:
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
            if not _complete(folder, sources, manifest):  # otherwise another process was faster
                folder.rename(Path(text) / "damaged")
                fresh.rename(folder)
