"""The house: who may import whom, folder by folder, with no circle of files.

A folder may import itself and what its line lists, which is always above its own line.
"""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("farm", "agents", "predictors")

BASE = ("farm.core", "farm.measurement")
STORED = (*BASE, "farm.spaces", "farm.compile", "farm.store", "farm.inventory")
RUN = (*STORED, "agents", "farm.execution")

MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "farm.core": (),
    "farm.measurement": ("farm.core",),
    "farm.spaces": ("farm.core",),
    "agents.on_device": (),
    "agents": (*BASE, "agents.on_device", "agents.runtime"),
    "agents.runtime": ("farm.core",),
    "agents.remote": (*BASE, "agents", "agents.runtime"),
    "agents.emulated": (
        *(*BASE, "farm.spaces"),
        *("agents", "agents.on_device", "agents.runtime", "agents.remote"),
    ),
    # The runner defines the seeded weights, and runs what was built for the check.
    "farm.compile": ("farm.core", "agents", "agents.runtime"),
    "farm.store": BASE,
    "farm.inventory": (*BASE, "agents"),
    "predictors": ("farm.core",),
    "farm.prediction": (*STORED, "agents", "predictors"),
    "farm.execution": (*STORED, "agents", "farm.prediction"),
    "farm.devices": (*RUN, "agents.remote"),
    "farm.campaign": (*RUN, "predictors", "farm.prediction", "farm.devices"),
    "farm.search": (*RUN, "predictors", "farm.prediction", "farm.campaign"),
    "farm": (*RUN, "farm.prediction", "farm.devices", "farm.campaign", "farm.search"),
    "farm.service": (
        *(*RUN, "farm.prediction", "farm.devices", "farm.campaign", "farm.search"),
        *("predictors", "farm"),
    ),
    "farm.cli": (
        *(*RUN, "farm.prediction", "farm.devices", "farm.campaign", "farm.search"),
        *("agents.remote", "farm", "farm.service"),
    ),
}

ONLY_IN = {
    **{"ray": "farm.execution", "sqlite_utils": "farm.store", "paramiko": "agents.remote"},
    **dict.fromkeys(
        ("fastapi", "starlette", "uvicorn", "jinja2", "prometheus_client"), "farm.service"
    ),
}


def files() -> dict[str, Path]:
    """Every file by its module's name."""
    found = chain.from_iterable((ROOT / name).rglob("*.py") for name in PACKAGES)
    return {name_of(path): path for path in sorted(found)}


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = files()


def folder_of(module: str) -> str:
    """The longest entry of MAY_IMPORT that `module` lies in."""
    fits = [name for name in MAY_IMPORT if f"{module}.".startswith(f"{name}.")]
    return max(fits, key=len, default="")


def imports_of(path: Path) -> set[str]:
    """Everything imported anywhere in the file: `from farm.compile import check` is the file
    `farm.compile.check`, where there is one."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in FILES else node.module for name in names}
    return found


@pytest.mark.parametrize("module", FILES)
def test_a_file_imports_what_its_folder_may(module: str) -> None:
    own = folder_of(module)
    assert own, f"{module} is in no folder of MAY_IMPORT"
    for imported in imports_of(FILES[module]):
        package = imported.partition(".")[0]
        assert ONLY_IN.get(package, own) == own, f"{module} imports {imported}"
        if package in PACKAGES:
            folder = folder_of(imported)
            assert folder == own or folder in MAY_IMPORT[own], f"{module} imports {imported}"


def test_no_folder_is_imported_by_one_below_it() -> None:
    assert set(TopologicalSorter(MAY_IMPORT).static_order()) == set(MAY_IMPORT)


def test_every_folder_exists() -> None:
    assert {folder_of(module) for module in FILES} == set(MAY_IMPORT)


def test_no_circle_of_files() -> None:
    graph = {
        module: {name for name in imports_of(path) if name in FILES and name != module}
        for module, path in FILES.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as e:
        pytest.fail(" -> ".join(e.args[1]))
