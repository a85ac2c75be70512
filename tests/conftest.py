"""What the tests of several packages share."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest

hypothesis.settings.register_profile("farm", deadline=None)
hypothesis.settings.load_profile("farm")  # no test depends on how fast this computer is

FAKES = """\
store: results
references: [a, b]
devices:
  a: {kind: "tests.fakes:FakeAgent"}
  b: {kind: "tests.fakes:FakeAgent"}
  odd: {kind: cpu, target: {kind: llvm, mcpu: pentium9}}
"""


@pytest.fixture
def farm(tmp_path, monkeypatch, capsys):
    """Runs the command in an empty folder with fake devices: (exit code, stdout, stderr)."""
    from farm.cli.main import main

    (tmp_path / "cluster.yaml").write_text(FAKES)
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["farm", *words])
        code = 0
        try:
            main()
        except SystemExit as e:
            code = int(e.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture(scope="session")
def published() -> Callable[[str], Mapping[str, Any]]:
    """Reads a published table by its file name; skips the test where the table is not there."""
    folder = Path(os.environ.get("FARM_DATA", Path(__file__).parents[2] / "shared" / "data"))

    def read(name: str) -> Mapping[str, Any]:
        if not (folder / name).exists():
            pytest.skip(f"no {name} in {folder}; set FARM_DATA to the folder of published tables")
        with np.load(folder / name) as data:
            return dict(data)

    return read


@pytest.fixture
def normal(tmp_path: Path) -> Callable[..., Any]:
    """The normal form of a model, by way of a file."""

    def make(made: Any, shape: str | None = None, batch: int | None = None) -> Any:
        import onnx

        from farm.spaces.onnx.normal import normalise
        from farm.spaces.onnx.read import read
        from farm.spaces.sizes import Sizes

        onnx.save(made, tmp_path / "model.onnx")
        return normalise(read(tmp_path / "model.onnx", Sizes(shape, batch)))

    return make
