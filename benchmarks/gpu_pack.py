"""The folder that `benchmarks/gpu_check.py` runs from on a GPU machine: made where no GPU is.

    python -m benchmarks.gpu_pack DIR [--arch sm_90a] [--networks 20] [--seed 0]

Needs nvcc. Prints what the folder holds as one JSON object.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agents.pipes import DEVICE_FILES
from agents.runtime.bundle import bundle, bundle_versions
from farm.compile.artifacts import ArtifactStore
from farm.compile.build import build
from farm.core.errors import FarmError, UsageError
from farm.core.hosts import cache_folder
from farm.core.values import Network
from farm.spaces import space

CHECK = Path(__file__).with_name("gpu_check.py")
"""Runs alone: it is copied, and never imported here."""

ARCHS = ("sm_80", "sm_90a")
"""A100 and its like, H100 and H200."""

PYTHONS = ("3.10", "3.11", "3.12", "3.13")
"""Of Linux distributions since 2022, and of the containers that GPUs are rented with."""

LIMIT_BYTES = 64 << 20

_PLATFORM = "x86_64-cuda"
_FBNETS = 5
"""One network in so many is an FBNet, whose convolutions are grouped; the others are cells."""


def pack(folder: Path, networks: int, seed: int, archs: Sequence[str] | None) -> dict[str, Any]:
    """Makes `folder`: networks compiled for each architecture, the runtime, and the check.

    Returns what it holds. Raises UsageError where it exists or would be too large, TargetError,
    BuildError, DeviceUnfit.
    """
    if folder.exists():
        raise UsageError(f"{folder} exists; remove it, or name another folder")
    chosen, archs = _networks(networks, seed), tuple(archs or ARCHS)
    entries = [_built(folder, n, i, arch) for arch in archs for i, n in enumerate(chosen)]
    versions = _runtime(folder / "runtime")
    for path in (*DEVICE_FILES, CHECK):
        shutil.copyfile(path, folder / path.name)
    (folder / "packed.json").write_text(json.dumps({"networks": entries, "versions": versions}))
    size_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if size_bytes > LIMIT_BYTES:
        raise UsageError(
            f"{folder} has {size_bytes} bytes, and may have {LIMIT_BYTES}; "
            "pack fewer --networks, or for fewer architectures"
        )
    return {"folder": str(folder), "networks": len(chosen), "archs": archs, "bytes": size_bytes}


def _networks(count: int, seed: int) -> list[Network]:
    rng = np.random.default_rng(seed)
    fbnets = count // _FBNETS
    return [*space("nb201").sample(count - fbnets, rng), *space("fbnet32").sample(fbnets, rng)]


def _built(folder: Path, network: Network, number: int, arch: str) -> dict[str, Any]:
    """Compiles a network into the folder; its entry in packed.json."""
    store = ArtifactStore(cache_folder() / "artifacts")
    artifact = build(space(network.space).model(network), {"kind": "cuda", "arch": arch}, store)
    library = f"networks/{arch}/{number:02}.so"
    (folder / library).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(artifact.library, folder / library)
    found = {"library": library, "sha256": artifact.sha256, "program": artifact.program.to_json()}
    return {"network": network.id, "arch": arch, **found}


def _runtime(folder: Path) -> dict[str, str]:
    """One slim runtime for all of `PYTHONS`; only the extension of `tvm_ffi` differs."""
    for python in PYTHONS:
        one = bundle(_PLATFORM, python)
        files = one.glob("tvm_ffi/core*.so") if folder.exists() else _files(one)
        for path in files:
            (folder / path.relative_to(one)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / path.relative_to(one))
    versions = bundle_versions(one)
    return {name: versions[name] for name in ("tvm", "tvm_ffi")}


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"]


def main(argv: Sequence[str]) -> int:
    """Packs; the exit code."""
    parser = argparse.ArgumentParser(prog="gpu_pack", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, metavar="DIR", help="the folder to make")
    parser.add_argument("--arch", action="append", help="such as sm_90a; repeatable")
    parser.add_argument("--networks", type=int, default=20, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="which networks")
    options = parser.parse_args(argv)
    try:
        print(json.dumps(pack(options.folder, options.networks, options.seed, options.arch)))
    except FarmError as e:
        print(f"gpu_pack: {e}", file=sys.stderr)
        return e.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
