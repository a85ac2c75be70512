"""The systemd unit, as far as it can be tried without installing it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "examples" / "farm.service"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path):
    program = re.search(r"^ExecStart=(\S+)", UNIT.read_text(), re.MULTILINE)[1]
    own = tmp_path / UNIT.name
    own.write_text(UNIT.read_text().replace(program, sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", own], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_unit_starts_what_the_command_has(farm):
    words = re.search(r"^ExecStart=\S+ (.*)$", UNIT.read_text(), re.MULTILINE)[1].split()
    code, out, _ = farm(words[0], "--help")
    assert code == 0
    assert all(word in out for word in words[1:] if word.startswith("-"))
