"""A command starts fast: what it does not use it does not import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

HEAVY = frozenset(
    (
        *("torch", "tvm", "ray", "onnx", "onnxruntime", "pandas", "pyarrow"),
        *("matplotlib", "sklearn", "xgboost", "scipy", "fastapi", "uvicorn"),
    )
)

COMMANDS = (("--help",), ("device", "list"), ("campaign", "list"))

SCRIPT = """\
import sys
from farm.cli.main import main
sys.argv = ["farm", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print(*sys.modules, file=sys.stderr)
"""


@pytest.fixture
def started(farm, tmp_path):
    """Runs a command in a process of its own, beside a store with a campaign: what it imported."""
    assert farm("launch", "--devices", "a", "--budget", "5", "--executor", "inline")[0] == 0

    def run(*words: str) -> set[str]:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, *words],
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        assert done.stdout
        return set(done.stderr.split())

    return run


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_command_imports_nothing_heavy(words, started):
    assert started(*words) & HEAVY == set()
