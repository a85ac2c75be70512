"""No two files of benchmarks/ import each other, directly or through others."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
FILES = {f"benchmarks.{path.stem}": path for path in FOLDER.glob("*.py")}


def imports_of(path: Path) -> set[str]:
    """The files of benchmarks/ that are imported anywhere in one of them."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found & FILES.keys()


def test_no_circle_of_files() -> None:
    try:
        TopologicalSorter({name: imports_of(path) for name, path in FILES.items()}).prepare()
    except CycleError as e:
        pytest.fail(" -> ".join(e.args[1]))


def test_imports_are_found() -> None:
    assert "benchmarks.contract" in imports_of(FILES["benchmarks.methods"])
    assert "benchmarks.neural" in imports_of(FILES["benchmarks.methods"])
