"""An output that cannot show all characters: plain ones instead, and no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from farm.cli.health import sparkline

ROOT = Path(__file__).parents[2]
SCRIPT = "from farm.cli import main; main()"
SHOWS = """\
import ast, sys
from farm.cli import plain, show
plain.let_everything_be_printed()
table = show.table_of("held-out", chr(0x2013))
table.add_row(ast.literal_eval(sys.argv[1]), "95 %")
show.out(table)
"""


@pytest.fixture
def run(tmp_path):
    """Runs Python code with words as an output of an encoding has it: (stdout, stderr)."""

    def run(code: str, *words: str, **variables: str) -> tuple[bytes, bytes]:
        environment = {
            key: v for key, v in os.environ.items() if not key.startswith(("LC_", "LANG"))
        }
        done = subprocess.run(
            [sys.executable, "-c", code, *words],
            cwd=tmp_path,
            env={**environment, "PYTHONPATH": str(ROOT), **variables},
            capture_output=True,
            timeout=120,
        )
        assert b"Traceback" not in done.stderr
        return done.stdout, done.stderr

    return run


ENCODINGS = (
    {"PYTHONIOENCODING": "latin-1"},
    {"PYTHONIOENCODING": "ascii"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
)


@pytest.mark.parametrize("encoding", ENCODINGS, ids=str)
def test_tables_are_printed_in_any_encoding(run, encoding):
    out, _ = run(SHOWS, ascii(f"{sparkline([-0.02, 0.02])} é → ≤ × … 漢"), **encoding)
    text = out.decode(encoding.get("PYTHONIOENCODING", "ascii"))
    assert "18 " in text
    assert " -> <= " in text
    assert " ... ?" in text
    assert text.splitlines()[0].split() == ["held-out", "-"]


@pytest.mark.parametrize("encoding", ENCODINGS, ids=str)
def test_a_mistake_is_printed_in_any_encoding(run, encoding, tmp_path):
    (tmp_path / "cluster.yaml").write_text("devices: {ﬁ→漢: {kind: cpu}}\n", encoding="utf-8")
    _, err = run(SCRIPT, "device", "list", **encoding)
    assert b"farm: cluster.yaml:1: devices.fi->?: a device's name is" in err


def test_nothing_changes_where_all_can_be_shown(run):
    out, _ = run(SHOWS, ascii("▁ é → 漢"), PYTHONIOENCODING="utf-8")
    assert "▁ é → 漢" in out.decode()


def test_a_name_of_a_file_that_is_no_text_is_printed(run):
    out, err = run(SCRIPT, "device", "list", "--config", os.fsdecode(b"\xff.yaml"))
    assert (out, err[:15]) == (b"", b"farm: no ?.yaml")
