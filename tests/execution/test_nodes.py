"""A cluster that others started, with a node on a host of its own that dies in mid-campaign."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from farm.farm import Farm
from tests.system import lack, need

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CLUSTER = """\
store: results
ray: 127.0.0.1:{port}
devices:
  here: {{kind: "tests.fakes:FakeAgent", slow_s: 0.02, cores: [0]}}
  there: {{kind: "tests.fakes:FakeAgent", slow_s: 0.05, host: elsewhere,
           target: {{kind: llvm, mtriple: x86_64-linux-gnu}}}}
"""
LAUNCH = """
import sys, time
import ray
from farm import Farm, Launch

for left in range(60, -1, -1):  # a head takes a while until it answers
    try:
        ray.init(f"127.0.0.1:{sys.argv[2]}", log_to_driver=False, logging_level="ERROR")
        break
    except Exception:
        if not left:
            raise
        time.sleep(1)
while "device:there" not in ray.cluster_resources():
    time.sleep(0.2)
ray.shutdown()
asked = Launch(space="nb201", devices=["here", "there"], budget=4, holdout=3, kernels=False)
Farm.open(sys.argv[1]).launch(asked)
"""
QUICK = {"RAY_health_check_period_ms": "1000", "RAY_health_check_failure_threshold": "15"}


class Cluster:
    """Raylets as `ray start` starts them, each with all its processes in one group."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16)}
        plain = {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
        quiet = {"RAY_USAGE_STATS_ENABLED": "0"}
        self.environment = {**os.environ, **QUICK, **token, **plain, **quiet}
        self._nodes: list[subprocess.Popen[bytes]] = []
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = found.getsockname()[1]

    def start(self, words: list[str], host: str | None = None) -> subprocess.Popen[bytes]:
        """host: the name of another host, which this one pretends to be for the node."""
        command = [str(Path(sys.executable).with_name("ray")), "start", "--block", "--num-cpus=2"]
        command += ["--node-ip-address=127.0.0.1", "--object-store-memory=100000000", *words]
        if host is not None:
            renamed = 'hostname "$0" && exec "$@"'
            command = ["unshare", "--uts", "sh", "-c", renamed, host, *command]
        node = subprocess.Popen(
            command,
            env=self.environment,
            cwd=ROOT,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._nodes.append(node)
        return node

    def start_head(self) -> None:
        resources = '--resources={"device:here": 1}'
        words = ["--head", f"--port={self.port}", f"--temp-dir={self._folder}", resources]
        self.start([*words, "--include-dashboard=false"])
        deadline_s = time.monotonic() + 120
        while time.monotonic() < deadline_s:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.2)
        raise AssertionError("the head does not start")

    def join(self) -> subprocess.Popen[bytes]:
        words = [f"--address=127.0.0.1:{self.port}", '--resources={"device:there": 1}']
        return self.start(words, host="elsewhere")

    def end(self) -> None:
        for node in self._nodes:
            kill(node)


def kill(node: subprocess.Popen[bytes]) -> None:
    if node.poll() is None:
        os.killpg(node.pid, signal.SIGKILL)
        node.wait()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    need(unshare="util-linux")
    if subprocess.run(["unshare", "--uts", "true"], check=False, capture_output=True).returncode:
        lack("a host of its own for a node needs root")
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as folder:
        running = Cluster(folder)
        try:
            running.start_head()
            yield running
        finally:
            running.end()


def wait_until(what: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + 540
    while not what():
        assert time.monotonic() < deadline_s, "it takes for ever"
        time.sleep(0.1)


def in_store(store: Path, sql: str) -> int:
    """A count, of a store that another process works on; 0 as long as it is not there."""
    if not (store / "farm.db").exists():
        return 0
    with closing(sqlite3.connect(f"file:{store}/farm.db?mode=ro", uri=True)) as database:
        try:
            return int(database.execute(sql).fetchone()[0])
        except sqlite3.OperationalError:
            return 0


@pytest.mark.timeout(1800)
def test_what_a_dead_node_had_to_do_is_done_when_another_comes(cluster, tmp_path):
    config = tmp_path / "cluster.yaml"
    config.write_text(CLUSTER.format(port=cluster.port))
    node = cluster.join()
    launch = subprocess.Popen(
        [sys.executable, "-c", LAUNCH, str(config), str(cluster.port)],
        env=cluster.environment,
        cwd=ROOT,
        start_new_session=True,
    )
    try:
        of_there = "SELECT count(*) FROM measurements WHERE device = 'there'"
        wait_until(lambda: in_store(tmp_path / "results", of_there) or launch.poll() is not None)
        kill(node)
        lost = "SELECT count(*) FROM failures WHERE kind = 'lost'"
        wait_until(lambda: in_store(tmp_path / "results", lost) or launch.poll() is not None)
        cluster.join()
        assert launch.wait(timeout=300) == 0
    finally:
        kill(launch)
    with Farm.open(config).store() as store:
        counts, failures = store.counts("c1"), store.failures("c1")
    assert [failure.message for _, failure in failures] == []
    assert counts == {"here": (7, 0), "there": (7, 0)}
