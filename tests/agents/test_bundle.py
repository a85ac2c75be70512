"""The slim runtime."""

from __future__ import annotations

import platform as host
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agents.pipes import local_runner, result_of
from agents.runtime import bundle
from agents.runtime.bundle import bundle_versions, host_bundle
from farm.core.errors import DeviceUnfit, UnknownName
from tests import arm64
from tests.system import need, runtime

pytestmark = pytest.mark.slow


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "latency-farm" / "runtime"


def works() -> bool:
    with local_runner() as pipe:
        return "result" in pipe.request({"op": "facts"}, 60)


CUDA = {"libtvm_runtime.so", "libtvm_runtime_cuda.so", "libcudart.so.13"}
PLATFORMS = [
    ("x86_64", "3.9", {"libtvm_runtime.so"}),
    ("x86_64-cuda", "3.11", CUDA),
    ("aarch64", "3.11", {"libtvm_runtime.so"}),
    ("aarch64-cuda", "3.12", CUDA),
    ("aarch64", "3.13", {"libtvm_runtime.so"}),
]
MACHINES = {"x86_64": 62, "aarch64": 183}
"""By their numbers in ELF files."""


@pytest.mark.parametrize(("platform", "python", "libraries"), PLATFORMS)
def test_is_small_and_for_its_platform(platform, python, libraries):
    folder = runtime(platform, python)
    versions, installed = bundle_versions(folder), bundle_versions(host_bundle())
    assert versions["runtime"] == folder.name
    assert {**versions, "runtime": ""} == {**installed, "runtime": ""}
    assert {path.name for path in folder.glob("lib/*")} == libraries
    assert not {"numpy", "tvm"} & {path.name for path in folder.iterdir()}
    files = [path for path in folder.rglob("*.*") if path.is_file() and path.suffix != ".pyc"]
    assert 5e6 < sum(path.stat().st_size for path in files) < 12e6
    code = [path for path in files if path.suffix == ".so"]
    assert {path.read_bytes()[18] for path in code} == {MACHINES[platform.partition("-")[0]]}
    assert any(f"cpython-{python.replace('.', '')}-" in path.name for path in code)
    assert runtime(platform, python) == folder


GLIBC = {"libc.so.6", "libdl.so.2", "libm.so.6", "libpthread.so.0", "librt.so.1"}
SYSTEM = {*GLIBC, "libstdc++.so.6", "libgcc_s.so.1", "libcuda.so.1"}
"""What a GPU's host has anyway; libcuda is its driver's."""


@pytest.mark.parametrize(
    ("platform", "python"), [("x86_64-cuda", "3.11"), ("aarch64-cuda", "3.12")]
)
def test_what_cuda_needs_is_in_it_or_the_systems(platform, python):
    need(readelf="binutils")
    folder = runtime(platform, python)
    own = {path.name for path in folder.rglob("*.so*")}
    for library in folder.glob("lib/*.so*"):
        argv = ["readelf", "-dW", library]
        dynamic = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
        needed = {n for n in re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic) if "ld-linux" not in n}
        assert needed, library
        assert needed <= own | SYSTEM, library
        if needed & {"libcudart.so.13"}:
            assert "[$ORIGIN]" in dynamic, "it would look for it elsewhere"


def test_runs_on_arm64():
    with arm64.runner() as pipe:
        seen = result_of(pipe.request({"op": "facts"}, 60))
    assert seen["uname"][4] == "aarch64"
    assert seen["python"].startswith("3.11.")


@pytest.fixture
def download(cache, monkeypatch):
    """Makes the runtime of this host as if another Python than its own were wanted."""
    python = bundle._HOST_PYTHON
    installed = host_bundle()
    shutil.rmtree(cache)
    monkeypatch.setattr(bundle, "_HOST_PYTHON", "3.0")
    return installed, lambda: runtime(host.machine(), python)


def test_a_download_is_the_same_as_what_is_installed(download):
    installed, downloaded = download
    assert downloaded() == installed
    assert works()


def test_a_downloaded_runtime_is_repaired_and_else_kept(download, monkeypatch):
    _, downloaded = download
    victim = downloaded() / "tvm_ffi/lib/libtvm_ffi.so"
    victim.unlink()
    downloaded()
    assert victim.exists()
    monkeypatch.setattr(bundle, "unpack", None)
    downloaded()


def test_what_cannot_be_had_is_said():
    with pytest.raises(DeviceUnfit, match=r"no wheel of apache-tvm-ffi .* Python 3\.7 on aarch64"):
        bundle.bundle("aarch64", "3.7")
    with pytest.raises(DeviceUnfit, match=r"like '3\.11', got '3\.11\.2'"):
        bundle.bundle("aarch64", "3.11.2")
    with pytest.raises(UnknownName, match="did you mean 'aarch64'"):
        bundle.bundle("arch64", "3.11")


def test_many_can_ask_for_it_at_once(cache):
    code = "from agents.runtime.bundle import host_bundle; print(host_bundle())"

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
    with pytest.raises(DeviceUnfit, match="'tvm' is not installed; run 'make setup'"):
        host_bundle()
