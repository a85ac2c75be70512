"""Two compile processes on one empty cache, of which one is killed half-way."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from farm.compile import check
from farm.compile.artifacts import ArtifactStore
from farm.compile.build import build, build_key
from farm.compile.kernels import KernelCache
from tests.compile.test_build import NETWORKS, model_of

BUILDER = """
import json, sys
from pathlib import Path
from farm.compile.artifacts import ArtifactStore
from farm.compile.build import build
from farm.compile.kernels import KernelCache
from tests.compile.test_build import model_of

root, target = Path(sys.argv[1]), json.loads(sys.argv[2])
store, kernels = ArtifactStore(root / "artifacts"), KernelCache(root / "kernels")
for network in sys.argv[3:]:
    build(model_of(network), target, store, kernels)
"""


def start(root: Path, target: dict[str, Any], networks: list[str]) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-c", BUILDER, str(root), json.dumps(target), *networks]
    return subprocess.Popen(argv, start_new_session=True, stderr=subprocess.PIPE)


def wait_for_kernels(kernels: KernelCache, count: int) -> None:
    """Until that many kernels are there, at most a minute."""
    for _ in range(6000):
        if len(list(kernels.root.glob("??/*"))) >= count:
            return
        time.sleep(0.01)
    raise AssertionError("no kernels were built")


def test_a_killed_builder_harms_nobody(tmp_path: Path, host_target: dict[str, Any]) -> None:
    networks = NETWORKS[:2]
    store, kernels = ArtifactStore(tmp_path / "artifacts"), KernelCache(tmp_path / "kernels")
    victim = start(tmp_path, host_target, networks)
    survivor = start(tmp_path, host_target, networks[::-1])
    wait_for_kernels(kernels, count=5)
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    _, errors = survivor.communicate(timeout=120)
    assert survivor.returncode == 0, errors.decode()
    for network in networks:
        artifact = store.get(build_key(model_of(network), host_target))
        assert artifact is not None
        check.check(artifact.library.read_bytes(), artifact.program)
        assert build(model_of(network), host_target, store, kernels) == artifact
