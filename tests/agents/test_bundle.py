"""The slim runtime."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agents import bundle
from agents.bundle import bundle_versions, host_bundle
from agents.pipes import local_runner
from farm.errors import DeviceUnfit


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "latency-farm" / "runtime"


def works() -> bool:
    with local_runner() as pipe:
        return "result" in pipe.request({"op": "facts"}, 60)


def test_is_small_and_says_what_it_is(cache):
    folder = host_bundle()
    assert folder.parent == cache
    assert bundle_versions(folder)["runtime"] == folder.name
    assert set(bundle_versions(folder)) == {"tvm", "tvm_ffi", "runtime"}
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert 5e6 < sum(path.stat().st_size for path in files) < 12e6
    assert host_bundle() == folder


def test_many_can_ask_for_it_at_once(cache):
    code = "from agents.bundle import host_bundle; print(host_bundle())"

    def ask(_: int) -> str:
        argv = [sys.executable, "-c", code]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()

    with ThreadPoolExecutor(6) as pool:
        found = set(pool.map(ask, range(6)))
    assert found == {str(path) for path in cache.iterdir()}
    assert len(found) == 1
    assert works()


@pytest.mark.parametrize("damage", ["lib/libtvm_runtime.so", "manifest.json", "tvm_ffi/core*.so"])
@pytest.mark.parametrize("how", ["missing", "empty"])
def test_damage_is_repaired(cache, damage, how):
    victim = next(host_bundle().glob(damage))
    victim.unlink()
    if how == "empty":
        victim.touch()
    folder = host_bundle()
    assert victim.stat().st_size > 0
    assert list(cache.iterdir()) == [folder]
    assert works()


@pytest.mark.usefixtures("cache")
def test_versions_are_those_that_are_installed(monkeypatch):
    host_bundle()
    monkeypatch.setattr(bundle, "version", "now {}".format)
    assert bundle_versions(host_bundle())["tvm"] == "now apache-tvm"


def test_without_tvm_it_says_what_to_do(monkeypatch):
    monkeypatch.setattr(bundle, "find_spec", {}.get)
    with pytest.raises(DeviceUnfit, match="'tvm_ffi' is not installed; run 'make setup'"):
        host_bundle()
