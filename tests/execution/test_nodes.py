"""A cluster that others started, with a node on a host of its own that dies in mid-campaign."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.ray_nodes import Nodes
from farm.farm import Farm
from tests.system import lack, need

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CLUSTER = """\
store: results
ray: 127.0.0.1:{port}
devices:
  here: {{kind: "tests.fakes:FakeAgent", slow_s: 0.02, cores: [0]}}
  there: {{kind: "tests.fakes:FakeAgent", slow_s: 0.05, host: host1,
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


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    need(unshare="util-linux")
    if subprocess.run(["unshare", "--uts", "true"], check=False, capture_output=True).returncode:
        lack("a host of its own for a node needs root")
    with (
        tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as folder,
        Nodes(Path(folder), ["here", "there"], {"PYTHONPATH": str(ROOT)}) as running,
    ):
        yield running


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
def test_what_a_dead_node_had_to_do_is_done_when_another_comes(nodes, tmp_path):
    config = tmp_path / "cluster.yaml"
    config.write_text(CLUSTER.format(port=nodes.port))
    launch = subprocess.Popen(
        [sys.executable, "-c", LAUNCH, str(config), str(nodes.port)],
        env=nodes.environment,
        cwd=ROOT,
        start_new_session=True,
    )
    try:
        of_there = "SELECT count(*) FROM measurements WHERE device = 'there'"
        wait_until(lambda: in_store(tmp_path / "results", of_there) or launch.poll() is not None)
        nodes.kill(1)
        lost = "SELECT count(*) FROM failures WHERE kind = 'lost'"
        wait_until(lambda: in_store(tmp_path / "results", lost) or launch.poll() is not None)
        nodes.start(1)
        assert launch.wait(timeout=300) == 0
    finally:
        if launch.poll() is None:
            os.killpg(launch.pid, signal.SIGKILL)
            launch.wait()
    with Farm.open(config).store() as store:
        counts, failures = store.counts("c1"), store.failures("c1")
    assert [failure.message for _, failure in failures] == []
    assert counts == {"here": (7, 0), "there": (7, 0)}
