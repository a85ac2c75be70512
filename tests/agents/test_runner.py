"""The program on the device, spoken to as a farm speaks to it."""

from __future__ import annotations

import ast
import hashlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from array import array
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import psutil
import pytest

from agents.on_device.loading import Refused, check_outputs, seeded_values
from agents.on_device.runner import ERROR_KINDS
from agents.pipes import DEVICE_FILES, RUNNER, RUNNER_ERRORS, LocalPipe, local_runner
from agents.runtime.bundle import host_bundle
from farm.core.values import Artifact
from farm.measurement.spec import MeasureSpec

Found = TypeVar("Found")

ALL_CORES = sorted(os.sched_getaffinity(0))


@pytest.fixture
def runner() -> Iterator[LocalPipe]:
    with local_runner() as pipe:
        yield pipe


def message(*artifacts: Artifact, **changes) -> dict:
    """A request to run networks once."""
    request = {
        "op": "run",
        "networks": [given(artifact) for artifact in artifacts],
        "threads": 1,
        "cores": ALL_CORES[-1:],
        "seed": 0,
        "timeout_s": 60.0,
    }
    return {**request, **changes}


def given(artifact: Artifact, **changes) -> dict:
    library, program = str(artifact.library), artifact.program.to_json()
    return {"library": library, "sha256": artifact.sha256, "program": program, **changes}


@pytest.mark.parametrize("own", [None, "glibc.malloc.arena_max=2"])
def test_asks_for_large_pages_and_keeps_what_else_was_wished(monkeypatch, own):
    if own is not None:
        monkeypatch.setenv("GLIBC_TUNABLES", own)
    with local_runner() as pipe:
        pipe.request({"op": "facts"}, 60.0)
        environment = Path(f"/proc/{pipe.pid}/environ").read_text()
    assert "glibc.malloc.hugetlb=1" in environment
    assert (own or "") in environment


def timing(*artifacts: Artifact, spec: MeasureSpec, **changes) -> dict:
    """A request for a session."""
    return message(*artifacts, **{"op": "session", "order": 0, "spec": asdict(spec), **changes})


def only(reply: dict) -> dict:
    """What a reply says of its one network."""
    (network,) = reply["result"]["networks"]
    return network


def error_of(reply: dict) -> str:
    """kind: message."""
    return f"{reply['error']['kind']}: {reply['error']['message']}"


class TestSeededValues:
    def test_are_the_same_everywhere(self):
        """Digests of what Python 3.9 to 3.13 compute. With others no old artifact is right."""
        texts = [seeded_values(*key).tobytes() for key in [(0, 0, 16, 1.0), (7, 3, 20_000, 0.05)]]
        assert [hashlib.sha256(text).hexdigest()[:16] for text in texts] == [
            "0c76286e297a1f52",
            "d96e31316a41bd4b",
        ]

    def test_are_uniform_and_neither_zero_nor_denormal(self):
        values = np.array(seeded_values(1, 2, 100_000, 0.5))
        assert values.dtype == np.float32
        assert np.abs(values).max() < 0.5
        assert np.abs(values).min() > np.finfo(np.float32).tiny
        assert abs(values.mean()) < 0.01
        assert values.std() == pytest.approx(0.5 / np.sqrt(3), rel=0.01)

    @pytest.mark.parametrize("count", [0, 1, 8190, 8191, 8192, 50_000])
    def test_have_the_length_that_was_asked_for_and_one_beginning(self, count):
        values = seeded_values(0, 0, count, 1.0)
        assert len(values) == count
        assert values[:100] == seeded_values(0, 0, 100, 1.0)[:count]

    def test_differ_between_seeds_and_arguments(self):
        first = seeded_values(0, 0, 64, 1.0)
        assert first not in (seeded_values(1, 0, 64, 1.0), seeded_values(0, 1, 64, 1.0))

    @pytest.mark.parametrize("bound", [2.0**-100, 2.0**100])
    def test_stay_normal_at_the_ends(self, bound):
        values = np.array(seeded_values(0, 0, 8191, bound))
        assert np.isfinite(values).all()
        assert np.abs(values).min() > np.finfo(np.float32).tiny

    @pytest.mark.parametrize("bound", [0.0, -1.0, 1e-40, 1e39, float("nan")])
    def test_refuse_other_bounds(self, bound):
        with pytest.raises(ValueError, match="bound"):
            seeded_values(0, 0, 1, bound)


PROGRAM = {"seed": 0, "outputs": [{"expected": [1.0, 2.0], "tolerance": 0.1}]}


class TestCheckOutput:
    def test_says_how_far_it_is_off(self):
        assert check_outputs([array("f", [1.0, 2.0625, 9.0])], PROGRAM, 0) == 0.0625

    def test_refuses_an_output_too_many(self):
        with pytest.raises(Refused, match="it has 2 outputs"):
            check_outputs([array("f", [1.0, 2.0])] * 2, PROGRAM, 0)

    def test_knows_nothing_of_other_seeds(self):
        assert check_outputs([array("f", [5.0, 5.0])], PROGRAM, 1) is None

    @pytest.mark.parametrize(
        ("output", "seed"),
        [([1.0, 2.2], 0), ([1.0], 0), ([1.0, float("nan")], 1), ([float("inf"), 2.0], 0)],
    )
    def test_refuses_what_another_network_computes(self, output, seed):
        with pytest.raises(Refused):
            check_outputs([array("f", output)], PROGRAM, seed)


class TestProgram:
    def test_every_kind_of_error_is_one_of_the_farm(self):
        assert set(RUNNER_ERRORS) == {*ERROR_KINDS, "busy"}  # which a device's supervisor says

    def test_is_python_3_9_and_needs_nothing_but_the_runtime(self):
        trees = [ast.parse(path.read_text(), feature_version=(3, 9)) for path in DEVICE_FILES]
        nodes = [node for tree in trees for node in ast.walk(tree)]
        names = {
            alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names
        }
        names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
        assert {name.split(".")[0] for name in names} - sys.stdlib_module_names == {
            "agents",  # for whom reads the types; not imported on a device
            "core",
            "loading",
            "nvidia",
            "timing",
            "tvm_ffi",
        }

    def test_the_parent_never_has_a_second_thread(self, runner, artifact):
        runner.request(message(artifact, threads=2, cores=[]), 60)
        assert psutil.Process(runner.pid).num_threads() == 1


class TestRun:
    def test_computes_what_the_network_computes(self, runner, artifact):
        result = only(runner.request(message(artifact), 60))
        assert result["outputs"][0] == pytest.approx(artifact.program.expected, abs=1e-5)
        other = only(runner.request(message(artifact, seed=1), 60))
        assert other["outputs"][0] != pytest.approx(artifact.program.expected, abs=1e-2)

    def test_is_refused_cores_that_are_not_there(self, runner, artifact):
        reply = runner.request(message(artifact, cores=[4000]), 60)
        assert error_of(reply).startswith("unfit: asked for the cores [4000]")

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"op": "sing"}, "bad_request: the request does not fit: KeyError: 'sing'"),
            ({"timeout_s": "soon"}, "bad_request: no request: ValueError"),
            ({"networks": [{}]}, "bad_request: the request does not fit: KeyError: 'library'"),
            ({"cores": "1"}, "bad_request: the request does not fit: TypeError"),
            ({"timeout_s": 0}, "timeout: no result within 0 s"),
        ],
    )
    def test_names_what_is_wrong_with_a_request(self, runner, artifact, change, says):
        assert error_of(runner.request(message(artifact, **change), 60)).startswith(says)
        assert "result" in runner.request(message(artifact), 60)

    @pytest.mark.parametrize("library", ["/nowhere.so", __file__])
    def test_names_a_library_that_is_none(self, runner, artifact, library):
        reply = runner.request(message(networks=[given(artifact, library=library)]), 60)
        assert error_of(reply).startswith(f"artifact: {library} does not load")
        assert reply["error"]["network"] == 0

    def test_answers_lines_that_are_no_requests(self):
        argv = [sys.executable, "-I", "-S", RUNNER, "--runtime", host_bundle()]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            for line in (b"hello\n", b"[1]\n", b"{}\n"):
                process.stdin.write(line)
                process.stdin.flush()
                assert b'{"id": null, "error": {"kind": "bad_request"' in process.stdout.readline()
            process.stdin.close()
            assert process.wait(30) == 0

    def test_says_that_there_is_no_runtime(self, tmp_path):
        argv = [sys.executable, "-I", "-S", str(RUNNER), "--runtime", str(tmp_path)]
        with LocalPipe(argv) as pipe:
            text = error_of(pipe.request({"op": "facts"}, 60))
        assert text.startswith(f"unfit: no runtime in {tmp_path} loads: OSError")


class TestFaults:
    @pytest.mark.parametrize(
        ("name", "says"),
        [
            ("crash", "crash: the network died of SIGSEGV"),
            ("exit", "crash: the network ended its process with status 3"),
        ],
    )
    def test_a_crash_says_how(self, runner, misbehaving, artifact, name, says):
        assert error_of(runner.request(message(misbehaving(name)), 60)) == says
        assert "result" in runner.request(message(artifact), 60)

    def test_damage_never_takes_the_runner_down(self, runner, truncated, artifact):
        assert runner.request(message(truncated), 60)["error"]["kind"] in ("crash", "artifact")
        assert "result" in runner.request(message(artifact), 60)

    def test_a_network_that_hangs_leaves_nothing_behind(self, runner, misbehaving):
        hanging = misbehaving("hang with a child")
        reply = runner.request(message(hanging, timeout_s=0.5), 60)
        assert error_of(reply) == "timeout: no result within 0.5 s"
        assert eventually(lambda: not any(maps(p, hanging.library) for p in psutil.process_iter()))

    def test_what_a_network_prints_is_no_reply(self, runner, misbehaving, quick):
        reply = runner.request(timing(misbehaving("noise"), spec=quick), 60)
        assert len(only(reply)["blocks"]) == quick.rounds

    def test_infinite_output_is_wrong(self, runner, artifact, quick):
        program = artifact.program
        huge = tuple(replace(tensor, bound=2.0**100) for tensor in program.inputs)
        overflowing = replace(artifact, program=replace(program, inputs=huge, seed=1))
        reply = runner.request(timing(overflowing, spec=quick), 60)
        assert error_of(reply) == "wrong_output: the output holds NaN or infinity"

    def test_arguments_of_another_shape_are_the_networks_crash(self, runner, artifact):
        other = replace(artifact.program, inputs=artifact.program.inputs[::-1])
        reply = runner.request(message(replace(artifact, program=other)), 60)
        assert error_of(reply).startswith("crash: the network raised RuntimeError")


def maps(process: psutil.Process, library: Path) -> bool:
    try:
        return any(entry.path == str(library) for entry in process.memory_maps())
    except (psutil.NoSuchProcess, psutil.AccessDenied, ProcessLookupError):
        return False


class TestMeasure:
    def test_keeps_every_sample(self, runner, artifact, quick):
        spec = replace(quick, rounds=4, min_samples=9)
        found = only(runner.request(timing(artifact, spec=spec), 60))
        samples_s = [block["samples_s"] for block in found["blocks"]]
        runs = found["blocks"][0]["runs_per_sample"]
        fastest_s = min(found["warmup_s"])
        filled = max(9, math.ceil(spec.block_s / (runs * fastest_s) * (1 - 1e-9)))
        assert runs * fastest_s >= spec.sample_s * (1 - 1e-9)
        assert len(samples_s) == 4
        for row in samples_s:  # a block goes on where its core was shared
            assert filled <= len(row) < filled + 2 * spec.min_samples
            assert len(row) <= spec.most_samples

    def test_says_which_samples_shared_their_core(self, runner, artifact, quick):
        found = only(runner.request(timing(artifact, spec=quick), 60))
        for block in found["blocks"]:
            assert len(block["shared"]) == len(block["samples_s"])
            assert 0 < block["core_probe"] < 1
        assert found["blocks"][-1]["core_probe"] <= found["blocks"][0]["core_probe"]

    def test_a_long_network_is_sampled_run_by_run(self, runner, artifact, quick):
        spec = {**asdict(quick), "sample_s": 1e-9, "block_s": 1e-9, "min_samples": 3}
        found = only(runner.request({**timing(artifact, spec=quick), "spec": spec}, 60))
        assert [block["runs_per_sample"] for block in found["blocks"]] == [1, 1, 1]
        assert [len(block["samples_s"]) for block in found["blocks"]] == [3, 3, 3]

    @pytest.mark.slow
    def test_cold_caches_are_slower_and_a_run_each(self, runner, artifact, quick):
        spec = replace(quick, min_samples=20)
        warm = only(runner.request(timing(artifact, spec=spec), 60))["blocks"]
        flushed = replace(spec, flush_bytes=64 << 20)
        cold = only(runner.request(timing(artifact, spec=flushed), 60))["blocks"]
        assert [block["runs_per_sample"] for block in cold] == [1, 1, 1]
        fastest = [min(s for b in blocks for s in b["samples_s"]) for blocks in (warm, cold)]
        assert fastest[0] < fastest[1]

    def test_networks_take_turns_in_an_order_of_their_own(self, runner, artifact, quick):
        spec = replace(quick, rounds=6)
        request = timing(*[artifact] * 4, spec=spec)
        orders = [turns(runner.request({**request, "order": n}, 60)) for n in (1, 1, 2)]
        assert orders[0] == orders[1] != orders[2]
        rounds = [orders[0][i : i + 4] for i in range(0, 24, 4)]
        assert all(sorted(numbers) == [0, 1, 2, 3] for numbers in rounds)
        assert len({tuple(numbers) for numbers in rounds}) > 1

    @pytest.mark.slow
    def test_an_error_names_the_network(self, runner, artifact, wrong, misbehaving, quick):
        for bad, kind in ((wrong, "wrong_output"), (misbehaving("crash"), "crash")):
            reply = runner.request(timing(artifact, artifact, bad, spec=quick), 60)
            assert (reply["error"]["kind"], reply["error"]["network"]) == (kind, 2)
        hanging = timing(artifact, misbehaving("hang"), spec=quick, timeout_s=2.0)
        reply = runner.request(hanging, 60)
        assert (reply["error"]["kind"], reply["error"]["network"]) == ("timeout", 1)

    def test_checks_the_output_against_its_own_seed_only(self, runner, wrong, artifact, quick):
        reply = runner.request(timing(wrong, spec=quick), 60)
        assert error_of(reply).startswith("wrong_output: output 0 is off by 0.01")
        assert only(runner.request(timing(wrong, spec=quick, seed=5), 60))["deviation"] is None
        right = only(runner.request(timing(artifact, spec=quick), 60))
        assert right["deviation"] <= artifact.program.outputs[0].tolerance
        assert right["outputs"][0] == pytest.approx(artifact.program.expected, abs=1e-5)

    def test_threads_are_where_they_should_be(self, runner, artifact, quick):
        """The first thread is the network's own; the pool adds the others."""
        one = runner.request(timing(artifact, spec=quick), 60)["result"]
        assert one["affinity"] == [ALL_CORES[-1:]]
        anywhere = runner.request(timing(artifact, spec=quick, cores=[]), 60)["result"]
        assert anywhere["affinity"] == [ALL_CORES]

    @pytest.mark.skipif(len(ALL_CORES) < 2, reason="two threads need two cores")
    def test_two_threads_have_a_core_each(self, runner, artifact, quick):
        cores = ALL_CORES[-2:]
        two = runner.request(timing(artifact, spec=quick, threads=2, cores=cores), 60)["result"]
        assert two["affinity"] == [[cores[0]], [cores[1]]]
        free = runner.request(timing(artifact, spec=quick, threads=2, cores=[]), 60)["result"]
        assert free["affinity"] == [ALL_CORES] * 2
        loose = runner.request(timing(artifact, spec=quick, cores=cores), 60)["result"]
        assert loose["affinity"] == [cores]

    def test_reads_files_before_and_after(self, runner, artifact, quick):
        patterns = ["/proc/loadavg", "/proc/cpuinfo"]
        found = only(runner.request(timing(artifact, spec=quick, read=patterns), 60))
        for reading in (found["blocks"][0]["before"], found["blocks"][0]["after"]):
            assert set(reading["files"]) == {"/proc/loadavg", "/proc/cpuinfo"}
            assert float(reading["files"]["/proc/loadavg"].split()[0]) >= 0

    @pytest.mark.parametrize(
        "pattern",
        [
            *("/dev/zero", "/etc/passwd", "/proc/[0-9]*/environ", "/**/*", "", "/proc/self/maps"),
            *("/proc/../etc/passwd", "/proc/cpuinfo/../version"),
            "/sys/devices/system/cpu/cpu0/../../../../../etc/passwd",
        ],
    )
    def test_reads_no_file_but_its_own(self, runner, pattern):
        reply = runner.request({"op": "facts", "read": [pattern]}, 60)
        assert error_of(reply) == f"bad_request: the runner does not read {pattern!r}"

    def test_loads_nothing_but_what_was_built(self, runner, misbehaving, artifact):
        replaced = given(artifact, library=str(misbehaving("exit").library))
        reply = runner.request(message(networks=[replaced]), 60)
        assert "does not load: its SHA-256 is" in error_of(reply)


def turns(reply: dict) -> list[int]:
    """The numbers of the networks in the order in which their blocks were timed."""
    networks = reply["result"]["networks"]
    starts = [(b["before"]["time_s"], n) for n, one in enumerate(networks) for b in one["blocks"]]
    return [number for _, number in sorted(starts)]


HOLDER = """\
import json, sys
from agents.pipes import local_runner
pipe = local_runner()
print(pipe.pid, flush=True)
pipe.request(json.loads(sys.argv[1]), 600)
"""


STARTER = """\
import subprocess, sys
runner = subprocess.Popen(sys.argv[2:], stdin=int(sys.argv[1]))
print(runner.pid, flush=True)
runner.wait()
"""


class TestEnd:
    @pytest.mark.slow
    @pytest.mark.parametrize("victim", ["farm", "runner"])
    def test_nothing_is_left_after_a_kill(self, misbehaving, victim):
        """In the middle of a request, with a network that would hang for ever."""
        hanging = misbehaving("hang")
        request = json.dumps(message(hanging, timeout_s=600.0))
        argv = [sys.executable, "-c", HOLDER, request]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as farm:
            runner = psutil.Process(int(farm.stdout.readline()))
            family = [runner, eventually(lambda: child_in(runner, hanging.library))]
            mapped = Path(f"/proc/{family[1].pid}/maps").read_text()
            assert f"{host_bundle()}/lib/libtvm_runtime.so" in mapped
            assert not [w for w in ("libtvm_compiler", "numpy", "site-packages") if w in mapped]
            os.kill(farm.pid if victim == "farm" else runner.pid, signal.SIGKILL)
            assert psutil.wait_procs(family, timeout=60)[1] == []

    @pytest.mark.slow
    def test_it_ends_with_the_farm_even_when_another_process_holds_its_stdin(self):
        stdin, held = os.pipe()
        runner_argv = [sys.executable, "-I", "-S", str(RUNNER), "--runtime", str(host_bundle())]
        argv = [sys.executable, "-c", STARTER, str(stdin), *runner_argv]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, pass_fds=[stdin]) as farm:
            runner = psutil.Process(int(farm.stdout.readline()))
            os.write(held, b'{"id": 1, "op": "facts"}\n')
            assert b'"result"' in farm.stdout.readline()
            farm.kill()
            assert psutil.wait_procs([runner], timeout=60)[1] == []
        os.close(stdin)
        os.close(held)


def child_in(runner: psutil.Process, library: Path) -> psutil.Process | None:
    """The child of a runner that has loaded `library`."""
    return next((child for child in runner.children() if maps(child, library)), None)


def eventually(look: Callable[[], Found | None]) -> Found:
    """What `look` finds at last; the minute is only for what would never come."""
    deadline_s = time.monotonic() + 60
    while not (found := look()):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    return found
