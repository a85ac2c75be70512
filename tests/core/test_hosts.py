"""The folder of a computer's cache, what is said where there can be none, and who has ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from farm.core.errors import UsageError
from farm.core.hosts import cache_folder, host_name, is_gone, lives, process_mark

ROOT = Path(__file__).parents[2]

NO_HOME = "/proc/nobody"
"""Nothing can be made in /proc, not even by root."""

DEVICES = """\
store: results
references: [cpu1]
devices:
  cpu1: {kind: cpu}
"""


def test_the_cache_is_made_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a" / "b"))
    assert cache_folder() == tmp_path / "a" / "b" / "latency-farm"
    assert cache_folder().is_dir()


def test_a_home_that_is_a_file_is_named_with_the_variable_that_helps(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    with pytest.raises(UsageError) as caught:
        cache_folder()
    assert str(tmp_path / "file" / ".cache" / "latency-farm") in str(caught.value)
    assert "XDG_CACHE_HOME" in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("device", "show", "cpu1"),
        ("device", "check", "cpu1"),
        ("device", "add", "cpu2", "--kind", "cpu"),
        ("hwl", "nb201/|none~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|"),
        ("launch", "--devices", "cpu1", "--budget", "1", "--no-kernels", "--executor", "inline"),
        ("launch", "--devices", "cpu1", "--budget", "1", "--no-kernels", "--executor", "ray"),
        ("tune", "cpu1", "--space", "nb201"),
    ],
    ids=lambda words: "-".join(
        w for w in words if w in ("show", "add", "hwl", "inline", "ray", "tune")
    ),
)
def test_a_command_that_needs_the_cache_says_so_in_one_line(tmp_path, words):
    (tmp_path / "cluster.yaml").write_text(DEVICES)
    environment = {**os.environ, "HOME": NO_HOME, "PYTHONPATH": str(ROOT)}
    environment.pop("XDG_CACHE_HOME", None)
    done = subprocess.run(
        [sys.executable, "-c", "from farm.cli import main; main()", *words],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 2, done.stderr
    assert last.startswith(f"farm: the cache {NO_HOME}/.cache/latency-farm cannot be written: ")
    assert "XDG_CACHE_HOME" in last
    assert "Traceback" not in done.stderr


def test_a_process_has_ended_where_that_can_be_seen():
    boot, pids, started = process_mark().split(":")
    mine = host_name(), os.getpid()
    assert not is_gone(*mine, process_mark())
    assert is_gone(*mine, f"{boot}:{pids}:{int(started) - 1}")  # one of before with our pid
    assert is_gone(*mine, f"another:{pids}:{started}")  # the computer has started again
    assert not is_gone("elsewhere", os.getpid(), f"another:{pids}:{started}")
    assert not is_gone(*mine, f"{boot}:1:{int(started) - 1}")  # in a container
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        its = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[19]
        mark = f"{boot}:{pids}:{its}"
        assert lives(host_name(), child.pid, mark)
        child.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
        assert lives(host_name(), child.pid, mark) is None
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert is_gone(host_name(), child.pid, mark)  # a zombie
        child.wait()
        assert is_gone(host_name(), child.pid, mark)
