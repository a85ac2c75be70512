"""Ctrl-C and SIGTERM at any moment: one line, the exit code, and no process left."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from farm.store import Store

ROOT = Path(__file__).parents[2]
CELL = "nb201/|none~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|"
SLOW = """\
store: results
references: [a, cpu1]
devices:
  a: {kind: "tests.fakes:FakeAgent", slow_s: 0.2}
  cpu1: {kind: cpu}
"""
LAUNCH = ("launch", "--devices", "a", "--budget", "40", "--holdout", "4", "--executor")


class Started:
    """A command in a process of its own, and all processes that come of it."""

    def __init__(self, folder: Path, *words: str, tmp: Path | None = None) -> None:
        self.tag = f"FARM_TEST_{time.monotonic_ns()}"
        environment = {**os.environ, "PYTHONPATH": str(ROOT), self.tag: "1"}
        environment |= {} if tmp is None else {"TMPDIR": str(tmp)}
        code = "from farm.cli import main; main()"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *words],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def ended(self, number: int) -> tuple[int, str, str]:
        """As Ctrl-C at a terminal does it, the whole group: (exit code, stdout, stderr)."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)
        out, err = self.process.communicate(timeout=120)
        return self.process.returncode, out, err

    def watched(self) -> bool:
        """Whether the process has come as far as our own code."""
        caught = re.search(r"SigCgt:\t(\w+)", Path(f"/proc/{self.process.pid}/status").read_text())
        return caught is not None and bool(int(caught[1], 16) & 1 << (signal.SIGTERM - 1))

    def left(self) -> list[str]:
        """The processes that are still there, but for a moment in which they end."""
        deadline_s = time.monotonic() + 10
        while (found := self._found()) and time.monotonic() < deadline_s:
            time.sleep(0.1)
        return found

    def _found(self) -> list[str]:
        found = []
        for process in psutil.process_iter():
            try:
                if self.tag in process.environ():
                    found.append(" ".join(process.cmdline()))
            except psutil.Error:
                continue
        return found


def until(condition: Callable[[], bool], timeout_s: float = 120) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def measured(folder: Path) -> int:
    try:
        with Store(folder / "results", create=False) as store:
            return sum(campaign.measured for campaign in store.campaigns())
    except Exception:  # noqa: BLE001 - it may be half made
        return 0


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "cluster.yaml").write_text(SLOW)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["inline", "ray"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_launch_says_what_is_kept_and_what_goes_on(folder, executor, number):
    started = Started(folder, *LAUNCH, executor, "--config", "./cluster.yaml", "--store", "results")
    until(lambda: measured(folder) > 0)
    code, out, err = started.ended(number)
    assert (code, out) == (128 + number, "")
    *progress, last = err.splitlines()
    assert all(line.startswith(("c1: ", "a is asked for networks alone: ")) for line in progress)
    found = re.fullmatch(
        r"farm: (interrupted|terminated); (\d+) of 44 results of c1 are in (\S+); "
        r"`farm campaign resume c1 --store results` goes on with it",
        last,
    )
    assert found is not None, last
    assert (int(found[2]), found[3]) == (measured(folder), str(folder / "results"))
    assert started.left() == []


MOMENTS = (
    *((words, wait_s) for words in [(*LAUNCH, "inline")] for wait_s in (0.0, 0.05, 0.3, 0.8, 3.0)),
    *((words, wait_s) for words in [(*LAUNCH, "ray")] for wait_s in (1.5, 2.5, 4.0, 6.0, 10.0)),
    *((("hwl", CELL), wait_s) for wait_s in (1.0, 4.0)),
    (("device", "check", "cpu1"), 4.0),
    (("device", "add", "cpu9", "--kind", "cpu"), 4.0),
    (("tune", "cpu1", "--space", "nb201"), 5.0),
    (("campaign", "list"), 0.2),
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "wait_s"), MOMENTS, ids=lambda v: str(v if v.__class__ is float else v[-1])
)
def test_at_any_moment_there_is_one_line_and_no_process_left(folder, words, wait_s):
    number = signal.SIGTERM if int(wait_s * 10) % 2 else signal.SIGINT
    started = Started(folder, *words)
    until(started.watched)
    time.sleep(wait_s)
    code, _, err = started.ended(number)
    assert code in (128 + number, 0, 1)  # it may have come to its end meanwhile
    if code > 1:
        last = err.splitlines()[-1]
        assert last.startswith(("farm: interrupted; ", "farm: terminated; "))
    assert not any(word in err for word in ("Traceback", "***", "signal", "    "))
    assert started.left() == []
    assert "cpu9" not in (folder / "cluster.yaml").read_text()


@pytest.mark.slow
def test_what_was_interrupted_goes_on(folder):
    started = Started(folder, *LAUNCH, "inline")
    until(lambda: measured(folder) > 0)
    _, _, err = started.ended(signal.SIGINT)
    resumed = Started(folder, "campaign", "resume", "c1", "--executor", "inline")
    until(resumed.watched)
    time.sleep(2)
    code, _, err = resumed.ended(signal.SIGINT)
    assert code == 130
    assert "`farm campaign resume c1` goes on with it" in err.splitlines()[-1]


@pytest.mark.slow
def test_a_long_folder_for_temporary_files_is_no_obstacle_for_ray(folder, tmp_path):
    long = tmp_path / ("x" * 100)
    long.mkdir()
    words = ("launch", "--devices", "a", "--budget", "2", "--holdout", "1", "--executor", "ray")
    started = Started(folder, *words, tmp=long)
    out, err = started.process.communicate(timeout=300)
    assert started.process.returncode == 0, err
    assert "3 of 3 measured" in out
    assert started.left() == []


def test_a_signal_that_is_ignored_stays_ignored(monkeypatch):
    """As of a command that `nohup` or a shell's `&` began."""
    from farm.cli import ending

    taken = []
    monkeypatch.setattr(signal, "getsignal", lambda _: signal.SIG_IGN)
    monkeypatch.setattr(signal, "signal", lambda number, _: taken.append(number))
    ending.watch()
    assert taken == []
