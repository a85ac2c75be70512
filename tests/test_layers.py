"""Who may import whom. A module may import its own layer's listed peers and everything below."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

BASE = {
    "farm.types",
    "farm.errors",
    "farm.statistics",
    "farm.quality",
    "farm.targets",
    "farm.hosts",
}
SCHEDULED = {"farm.schedule", "farm.store", "farm.spaces", "farm.config", "farm.compile", "agents"}
LEARNING = {
    "farm.learn",
    "farm.measuring",
    "farm.executor",
    "farm.dispatch",
    "farm.campaign",
    "farm.query",
}
ABOVE = {
    "farm.anchors",
    "farm.certify",
    "farm.health",
    "farm.compare",
    "farm.summary",
    "farm.export",
    "farm.doctor",
    "farm.farm",
    "farm.onboarding",
    "farm.tune",
}

# For each part, what it may import beyond itself.
ALLOWED = {
    "farm.types": {"farm.statistics", "farm.quality"},
    "farm.errors": set(),
    "farm.statistics": set(),
    "farm.quality": {"farm.types"},
    "farm.measuring": BASE | {"agents", "farm.references"},
    "farm.targets": set(),
    "farm.hosts": set(),
    "farm.spaces": BASE,
    # The runner defines the seeded weights, and runs what was built for the check.
    "farm.compile": BASE | {"agents"},
    "farm.store": BASE | {"farm.references"},
    "farm.schedule": BASE,
    "agents": BASE,
    # Estimated devices read the layers of a network from its graph.
    "agents.emulated": BASE | {"agents", "farm.spaces"},
    "predictors": {"farm.errors"},
    "farm.config": BASE | {"agents"},
    "farm.encode": BASE | {"farm.spaces", "predictors"},
    "farm.proxies": BASE | {"farm.spaces", "predictors"},
    "farm.learn": BASE | {"farm.encode", "farm.spaces", "farm.store", "predictors"},
    "farm.executor": BASE | SCHEDULED | {"farm.measuring", "farm.references"},
    "farm.references": BASE,
    "farm.anchors": BASE | {"farm.references"},
    "farm.certify": BASE | {"agents", "farm.measuring"},
    "farm.health": BASE | SCHEDULED | {"farm.anchors"},
    "farm.guard": BASE | SCHEDULED | {"farm.anchors", "farm.references"},
    "farm.dispatch": BASE | SCHEDULED | {"farm.executor", "farm.guard", "farm.references"},
    "farm.campaign": BASE | SCHEDULED | LEARNING,
    "farm.query": BASE | SCHEDULED | LEARNING,
    "farm.summary": BASE | SCHEDULED | LEARNING,
    "farm.export": BASE | SCHEDULED,
    "farm.compare": BASE | SCHEDULED | {"farm.measuring"},
    "farm.cluster": BASE | SCHEDULED | {"farm.executor"},
    "farm.tune": BASE | SCHEDULED | {"farm.executor", "farm.inventory"},
    "farm.doctor": BASE | SCHEDULED | {"farm.executor"},
    "farm.farm": BASE | SCHEDULED | LEARNING | ABOVE | {"farm.cluster"},
    "farm.inventory": BASE | {"farm.config"},
    "farm.onboarding": BASE
    | SCHEDULED
    | {"farm.anchors", "farm.certify", "farm.executor", "farm.inventory"},
    "farm.cli": BASE | SCHEDULED | LEARNING | ABOVE,
    "farm": {"farm.farm"},
}

ONLY_HERE = {"ray": {"farm.cluster"}, "sqlite_utils": {"farm.store"}, "paramiko": {"agents"}}


def modules() -> list[Path]:
    return sorted(
        p for name in ("farm", "agents", "predictors") for p in (ROOT / name).rglob("*.py")
    )


def part_of(module: str) -> str:
    """The longest entry of ALLOWED that `module` lies in."""
    fits = [part for part in ALLOWED if module == part or module.startswith(part + ".")]
    return max(fits, key=len) if fits else ""


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> set[str]:
    """Everything imported anywhere in the file; `from farm import query` counts as farm.query."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            submodules = {f"{node.module}.{alias.name}" for alias in node.names}
            real = {m for m in submodules if part_of(m) not in ("", part_of(node.module))}
            found |= real or {node.module}
    return found


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_imports_follow_the_layers(path: Path) -> None:
    module = name_of(path)
    own = part_of(module)
    assert own, f"{module} is in no layer: add it to ALLOWED"
    for imported in imports_of(path):
        package = imported.split(".")[0]
        if package in ONLY_HERE:
            assert own in ONLY_HERE[package], f"{module} imports {imported}"
        if package in ("farm", "agents", "predictors"):
            part = part_of(imported)
            assert part == own or part in ALLOWED[own], f"{module} imports {imported}"


def test_every_layer_exists() -> None:
    named = {part_of(name_of(path)) for path in modules()}
    assert named == set(ALLOWED)
