"""The check that a GPU machine runs alone: packed here, and run as far as that goes without one."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks import gpu_check, gpu_pack
from farm.core.errors import DeviceUnfit, UsageError
from farm.measurement.estimator import latency, of_block
from tests.agents import cuda_stand_in
from tests.system import lack, need

HOST_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
SYSTEM = re.compile(r"ld-linux.*|lib(c|dl|gcc_s|m|pthread|rt|stdc\+\+)\.so\.\d+|libcuda\.so\.1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two networks, packed for an H100."""
    need(nvcc="the CUDA toolkit", cc="gcc", nm="binutils", readelf="binutils")
    path = tmp_path_factory.mktemp("gpu") / "packed"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpu_pack, "PYTHONS", ("3.12", HOST_PYTHON))
        try:
            made = gpu_pack.pack(path, 2, seed=0, archs=["sm_90a"])
        except DeviceUnfit as error:
            lack(str(error))
    assert made["bytes"] == sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    return path


@dataclass(frozen=True)
class Run:
    code: int
    out: str
    err: str


def run(folder: Path, *words: str, libraries: Path | None = None) -> Run:
    """Runs the check as a GPU machine does: with a bare Python, far from the farm."""
    argv = [sys.executable, "-I", "-S", str(folder / "gpu_check.py"), *words]
    settings = {"LD_LIBRARY_PATH": str(libraries)} if libraries else {}
    environment = {"PATH": os.environ["PATH"], **settings}
    done = subprocess.run(
        argv, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    return Run(done.returncode, done.stdout, done.stderr)


@pytest.mark.slow
class TestPacked:
    def test_is_small_and_has_what_its_libraries_need(self, folder):
        files = [path for path in folder.rglob("*") if path.is_file()]
        assert sum(path.stat().st_size for path in files) < gpu_pack.LIMIT_BYTES
        libraries = [path for path in files if ".so" in path.name]
        own = {path.name for path in libraries}
        for path in libraries:
            argv = ["readelf", "-dW", path]
            dynamic = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
            needed = set(re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic)) - own
            assert all(SYSTEM.fullmatch(name) for name in needed), (path.name, needed)

    def test_has_an_extension_for_each_python(self, folder):
        cores = {path.name.split("-")[1] for path in folder.glob("runtime/tvm_ffi/core*.so")}
        assert cores == {"312", HOST_PYTHON.replace(".", "")}

    def test_holds_cells_and_says_what_it_holds(self, folder):
        packed = json.loads((folder / "packed.json").read_text())
        assert {entry["arch"] for entry in packed["networks"]} == {"sm_90a"}
        assert all((folder / entry["library"]).is_file() for entry in packed["networks"])
        assert set(packed["versions"]) == {"tvm", "tvm_ffi"}

    def test_overwrites_nothing(self, folder):
        with pytest.raises(UsageError, match="exists; remove it"):
            gpu_pack.pack(folder, 1, 0, None)

    def test_is_not_larger_than_what_can_be_sent(self, tmp_path, monkeypatch):
        monkeypatch.setattr(gpu_pack, "LIMIT_BYTES", 1000)
        monkeypatch.setattr(gpu_pack, "PYTHONS", (HOST_PYTHON,))
        with pytest.raises(UsageError, match="may have 1000; pack fewer"):
            gpu_pack.pack(tmp_path / "new", 0, 0, ["sm_90a"])


def test_what_cannot_be_packed_is_said(tmp_path, capsys):
    assert gpu_pack.main([str(tmp_path)]) == 2
    assert f"gpu_pack: {tmp_path} exists; remove it" in capsys.readouterr().err


@pytest.mark.slow
def test_without_a_gpu_it_says_so(folder):
    if cuda_stand_in.driver_here():
        pytest.skip("this computer has an NVIDIA driver")
    done = run(folder, "--json", str(folder.parent / "none.json"))
    assert done.code == gpu_check.NO_GPU
    assert "nothing was checked. unfit: no NVIDIA driver here (libcuda.so.1" in done.err
    assert not (folder.parent / "none.json").exists()


def test_without_networks_it_says_what_to_do():
    done = run(Path(gpu_check.__file__).parent)
    assert done.code == 2
    assert "`python -m benchmarks.gpu_pack DIR`" in done.err


@pytest.fixture(scope="module")
def stand_in(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packed folder beside a GPU that computes zeros."""
    libraries = tmp_path_factory.mktemp("libraries")
    runtime = cuda_stand_in.build(libraries)
    copy = libraries / "packed"
    shutil.copytree(folder, copy)
    shutil.copy(runtime / "lib/libcudart.so.13", copy / "runtime/lib/libcudart.so.13")
    return copy


@pytest.mark.slow
def test_a_gpu_is_measured_and_what_it_computes_is_looked_at(stand_in):
    """The first network is expected to give zeros, which is what the stand-in computes."""
    packed = json.loads((stand_in / "packed.json").read_text())
    packed["networks"][0]["program"]["outputs"][0]["expected"] = [0.0] * 10
    (stand_in / "packed.json").write_text(json.dumps(packed))
    done = run(stand_in, "--json", str(stand_in.parent / "r.json"), libraries=stand_in.parent)
    assert done.code == 1
    found = json.loads((stand_in.parent / "r.json").read_text())
    assert json.loads(done.out) == found["summary"]
    assert found["gpu"]["name"] == "NVIDIA H100 80GB HBM3"
    counts = ("networks", "measured", "outputs_agree", "graphs", "graph_outputs_agree", "errors")
    assert [found["summary"][name] for name in counts] == [2, 1, 1, 2, 2, 1]
    right, wrong = found["rows"]
    assert (len(right["latencies_s"]), right["errors"]) == (gpu_check.SESSIONS, [])
    assert min(right[name] for name in ("cold_s", "event_s", "wall_s", "graph_s")) > 0
    assert right["telemetry"]["clock_hz"] == 1.755e9
    assert wrong["latencies_s"] == []
    assert f"{wrong['network']}: session 0: wrong_output" in done.err


def test_a_network_is_packed_for_the_gpu_or_it_says_so():
    networks = [{"arch": arch} for arch in ("sm_80", "sm_86", "sm_90", "sm_90a")]
    for capability, arch in (("80", "sm_80"), ("89", "sm_86"), ("90", "sm_90a")):
        assert gpu_check.fitting(networks, capability) == [{"arch": arch}]
    assert gpu_check.fitting([{"arch": "sm_90"}], "90") == [{"arch": "sm_90"}]
    for capability in ("75", "100"):
        with pytest.raises(gpu_check.Failed, match=rf"unfit: no network .* sm_{capability}, only"):
            gpu_check.fitting(networks, capability)


ROW = {
    "latencies_s": [1e-3, 1.01e-3],
    "deviation": 1e-6,
    "cold_s": 1.5e-3,
    "event_s": 1e-3,
    "wall_s": 1.02e-3,
    "graph_s": 0.8e-3,
    "graph_agrees": True,
    "errors": [],
}


@pytest.mark.parametrize(
    ("change", "passes"),
    [
        ({}, True),
        ({"latencies_s": [1e-3, 1.1e-3]}, False),
        ({"latencies_s": []}, False),
        ({"deviation": None}, False),
        ({"wall_s": 1.2e-3}, False),
        ({"graph_agrees": False}, False),
    ],
)
def test_passes_only_if_everything_agrees(change, passes):
    assert gpu_check.summary([{**ROW, **change}])["passed"] is passes


def test_a_row_without_its_other_clocks_does_not_pass():
    row = {name: ROW[name] for name in ("latencies_s", "deviation", "cold_s")}
    found = gpu_check.summary([{**row, "errors": ["other clocks: crash: died of SIGSEGV"]}])
    assert (found["passed"], found["graph_ratio"], found["errors"]) == (False, None, 1)


def test_a_latency_is_what_the_farm_makes_of_it():
    blocks = [{"samples_s": [0.1 * n, 9.0, 0.2, 0.3 * n]} for n in (3, 1, 5, 2, 7)]
    own = [of_block(block["samples_s"]) for block in blocks]
    assert gpu_check.session_latency_s({"blocks": blocks}) == pytest.approx(latency([own]))
    blocks = [{"samples_s": [0.1]}]
    assert gpu_check.session_latency_s({"blocks": blocks[:1]}) == blocks[0]["samples_s"][0]
