"""The Ray that the farm starts on this computer: nobody else's, and gone with it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import ray

from farm.compile.artifacts import ArtifactStore
from farm.core.errors import DeviceLost
from farm.core.hosts import process_mark
from farm.execution import ray_session
from farm.execution.on_ray import RayExecutor

STRANGER = "import sys, ray; ray.init(address=sys.argv[1])"


@pytest.mark.slow
def test_is_for_its_owner_alone(tmp_path):
    with RayExecutor([], ArtifactStore(tmp_path)) as executor:
        session = Path(ray._private.worker.global_worker.node.get_session_dir_path())
        own = session.parent.parent
        assert stat.S_IMODE(own.stat().st_mode) == 0o700
        assert own.stat().st_uid == os.getuid()
        address = ray.get_runtime_context().gcs_address
        environment = {**os.environ, "RAY_AUTH_TOKEN": "0" * 32}
        argv = [sys.executable, "-c", STRANGER, address]
        done = subprocess.run(argv, env=environment, capture_output=True, timeout=120)
        assert done.returncode != 0
        assert b"InvalidAuthToken" in done.stderr
        # Where it dies, a run ends, and no network that it was asked for is blamed.
        assert executor.wait(0.0) == []
        (raylet,) = (p for p in psutil.Process().children() if p.name() == "raylet")
        raylet.kill()
        while raylet.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        with pytest.raises(DeviceLost, match="the Ray that was started here died"):
            executor.wait(0.0)
    assert not own.exists()


def test_what_a_killed_process_left_is_deleted_by_the_next(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    (boot, pids, started), pid = process_mark().split(":"), ended.pid
    ended.kill()
    ended.wait()
    owners = {"dead": f"{pid} {boot}:{pids}:1", "alive": f"{os.getpid()} {boot}:{pids}:{started}"}
    for name, owner in {**owners, "odd": "what?", "others": None}.items():
        (tmp_path / f"ray-{name}" / "r").mkdir(parents=True)
        if owner is not None:
            (tmp_path / f"ray-{name}" / "owner").write_text(owner)
    (tmp_path / "ray-link").symlink_to(tmp_path / "ray-dead")
    made = Path(ray_session._own_folder(tmp_path))
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"ray-alive", "ray-odd", "ray-others", "ray-link", made.name}
    assert (made / "owner").read_text() == owners["alive"]


IMPORTED = """
import ray
from farm import Farm, Launch

asked = Launch(space="nb201", devices=["a"], budget=1, holdout=0)
print(Farm.open("cluster.yaml").launch(asked).counts)
"""


@pytest.mark.slow
def test_starts_where_ray_was_imported_before_and_a_token_is_kept(tmp_path):
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("1" * 32)
    device = '{kind: "tests.fakes:FakeAgent"}'
    (tmp_path / "cluster.yaml").write_text(f"store: results\ndevices:\n  a: {device}\n")
    plain = {k: v for k, v in os.environ.items() if not k.startswith("RAY_AUTH_")}
    environment = {**plain, "HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])}
    argv = [sys.executable, "-W", "ignore", "-c", IMPORTED]
    done = subprocess.run(
        argv, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.stdout == "{'a': (1, 0)}\n", done.stderr


def test_a_pipe_of_rays_own_that_breaks_is_no_fault_of_the_disk(tmp_path, monkeypatch):
    executor = RayExecutor([], ArtifactStore(tmp_path), address="127.0.0.1:6379")
    executor._session = SimpleNamespace(must_live=lambda: None)

    def broken() -> None:
        raise OSError("Broken pipe")  # as Ray raises it: without a number

    monkeypatch.setattr(executor._builders, "look_again", broken)
    with pytest.raises(DeviceLost, match=r"cannot be reached any more .Broken pipe.*resume"):
        executor.wait(0.0)
