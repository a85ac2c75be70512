"""Two compile processes on one empty cache, of which one is killed half-way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks import killed_builds
from benchmarks.networks import host_target, model_of, sample
from farm.compile.artifacts import ArtifactStore
from farm.compile.build import build, build_key
from farm.compile.kernel_cache import KernelCache

pytestmark = pytest.mark.slow

FINE = {"unfinished": 0, "missing": 0, "wrong": 0, "torn": 0}


def test_a_killed_builder_harms_nobody(tmp_path: Path) -> None:
    networks = sample("nb201", 2, seed=0)
    row = killed_builds.one_round(tmp_path, networks, kernels=5)
    assert killed_builds.summary([row]) == {"rounds": 1, "killed": 1, **FINE}
    store, kernels = ArtifactStore(tmp_path / "artifacts"), KernelCache(tmp_path / "kernels")
    for network in networks:
        kept = store.get(build_key(model_of(network), host_target()))
        assert build(model_of(network), host_target(), store, kernels) == kept


def test_what_a_kill_could_do_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that is cut off, an artifact that is gone, and one of another network."""
    (here,), other = sample("nb201", 1, seed=3), sample("nb201", 1, seed=4)
    killed_builds.build_all(tmp_path, [here, *other])
    store = ArtifactStore(tmp_path / "artifacts")
    first, second = (store.get(build_key(model_of(n), host_target())) for n in [here, *other])
    assert first is not None
    assert second is not None
    os.truncate(next((tmp_path / "kernels").glob("??/*/kernel.o")), 10)
    swapped = store.put("ab" * 32, first.library.read_bytes(), second.program, 0.0)
    monkeypatch.setattr(killed_builds, "build_key", lambda *_: swapped.build_key)
    assert killed_builds._judge(store.root, [here]) == (0, 1)
    monkeypatch.setattr(killed_builds, "build_key", lambda *_: "cd" * 32)
    assert killed_builds._judge(store.root, [here]) == (1, 0)
    assert killed_builds._torn(tmp_path / "kernels") == 1
