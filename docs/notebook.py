"""Runs a notebook's code as Jupyter does, cell after cell, and writes what came of it into it.

    python -m docs.notebook examples/first_steps.ipynb

In a folder of its own, with the devices of this repository's cluster.yaml: it measures for minutes.
"""

from __future__ import annotations

import ast
import base64
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import nbformat

ROOT = Path(__file__).parent.parent


def run(path: Path) -> Any:
    """The notebook in a file, with the outputs of a run in the current folder. Whatever a cell
    raises is raised here."""
    notebook = nbformat.read(path, as_version=4)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    codes = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for number, cell in enumerate(codes, 1):
        cell.execution_count = number
        cell.outputs = list(_outputs(cell.source, namespace, number))
    nbformat.validate(notebook)
    return notebook


def _outputs(source: str, namespace: dict[str, Any], number: int) -> Iterator[Any]:
    """What a cell prints, and the value of its last line."""
    body = ast.parse(source).body
    last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
    printed, value = io.StringIO(), None
    with redirect_stdout(printed):
        exec(compile(ast.Module(body, []), f"cell {number}", "exec"), namespace)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), namespace)
    if printed.getvalue():
        yield nbformat.v4.new_output("stream", name="stdout", text=printed.getvalue())
    if value is not None:
        told = _told(value)
        yield nbformat.v4.new_output("execute_result", told, execution_count=number)


def _told(value: Any) -> dict[str, str]:
    """As Jupyter shows it: a plot, a table, or text."""
    told = {"text/plain": repr(value)}
    if hasattr(value, "savefig"):
        png = io.BytesIO()
        value.savefig(png, format="png", dpi=80, bbox_inches="tight")
        told["image/png"] = base64.b64encode(png.getvalue()).decode()
    elif hasattr(value, "_repr_html_"):
        told["text/html"] = value._repr_html_()
    return told


@contextmanager
def _folder() -> Iterator[None]:
    """An empty folder with this repository's cluster.yaml, for a while."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="farm-notebook-") as folder:
        shutil.copy(ROOT / "cluster.yaml", folder)
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


if __name__ == "__main__":
    notebook_path = Path(sys.argv[1]).absolute()
    with _folder():
        done = run(notebook_path)
    nbformat.write(done, notebook_path)
