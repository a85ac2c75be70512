"""Changes cluster.yaml as a careful person would: all that is not concerned stays."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.nodes import CollectionNode, MappingNode, Node

from farm.core.errors import ConfigError
from farm.core.values import Target
from farm.inventory.config import FarmConfig, load, parse

_INDENT = 2
_WIDTH = 100
"""Columns after which a target goes on in another line."""


@dataclass(frozen=True)
class Draft:
    """What cluster.yaml would say, and mean; nothing is changed before it is saved."""

    config: FarmConfig
    text: str

    def save(self) -> None:
        """Puts it in the file's place."""
        path = self.config.path.resolve()
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".cluster-") as folder:
            fresh = Path(folder) / path.name
            fresh.write_text(self.text, encoding="utf-8")
            fresh.chmod(path.stat().st_mode)
            fresh.replace(path)


def with_device(path: Path, name: str, entry: Mapping[str, Any]) -> Draft:
    """The file with a new device below the others. Raises ConfigError for one it cannot have."""
    tree, lines = _read(path)
    devices = tree["devices"]
    if name in devices:
        raise ConfigError(
            f"{path} has a device {name!r} already; 'farm device remove {name}' takes it out"
        )
    if devices:
        last = list(devices)[-1]
        end, indent = _end(lines, devices, last), _place(devices, last)[1]
    else:
        end, indent = _place(tree, "devices")[0] + 1, _INDENT
        lines[end - 1] = "devices:\n"
    return _draft(path, [*lines[:end], *_rendered(name, entry, indent), *lines[end:]])


def without_device(path: Path, name: str) -> Draft:
    """The file without one of its devices.

    Raises UnknownName, and ConfigError where something else in the file names the device.
    """
    load(path).device(name)
    tree, lines = _read(path)
    devices = tree["devices"]
    start, end = _place(devices, name)[0], _end(lines, devices, name)
    rest = [*lines[:start], *lines[end:]]
    if len(devices) == 1:
        rest[_place(tree, "devices")[0]] = "devices: {}\n"
    return _draft(path, rest)


def with_target(path: Path, name: str, target: Target) -> Draft:
    """The file with another target of a device, in place of the one that it says, if any.

    Raises UnknownName, and ConfigError where that cannot be done without changing anything else.
    """
    before = load(path)
    before.device(name)
    text = path.read_text(encoding="utf-8")
    start, end, new = _target_change(text, name, target)
    after = load(path, text[:start] + new + text[end:])
    others = [{n: d for n, d in c.devices.items() if n != name} for c in (before, after)]
    if others[0] != others[1] or getattr(after.devices[name].options, "target", None) != target:
        raise ConfigError(
            f"{path}: the `target` of {name} cannot be changed alone, as the file is written; "
            f"write it yourself: {' '.join(_flow(target, 0).split())}"
        )
    return Draft(after, text[:start] + new + text[end:])


def with_references(path: Path, devices: Sequence[str]) -> Draft:
    """The file with other reference devices. Raises ConfigError where that cannot be done without
    changing anything else."""
    before = load(path)
    text = path.read_text(encoding="utf-8")
    root = YAML().compose(text)
    said = f"references: [{', '.join(devices)}]"
    keys = {key.value: (key, value) for key, value in root.value}
    if "references" in keys:
        key, value = keys["references"]
        start, end = key.start_mark.index, max(_end_index(value), key.end_mark.index + 1)
    else:
        start = end = keys["devices"][0].start_mark.index
        said += "\n"
    after = load(path, text[:start] + said + text[end:])
    if replace(after, references=before.references) != before:
        raise ConfigError(f"{path} cannot be changed as it is written; write `{said}` yourself")
    return Draft(after, text[:start] + said + text[end:])


def _target_change(text: str, name: str, target: Target) -> tuple[int, int, str]:
    """What to replace in a file: from where, to where, and by what."""
    key, entry = _found(_found(YAML().compose(text), "devices")[1], name)
    indent = key.start_mark.column + 2 * _INDENT
    present = {k.value: value for k, value in entry.value}.get("target")
    if present is not None:
        start, end = present.start_mark.index, _end_index(present)
        return start, end, (" " if start == end else "") + _flow(target, indent)
    last = _end_index(entry)
    if entry.flow_style:
        last = _end_index(entry.value[-1][1])
        return last, last, f", target: {_flow(target, indent)}"
    line_end = text.find("\n", last) if "\n" in text[last:] else len(text)
    column = " " * entry.value[0][0].start_mark.column
    return line_end, line_end, f"\n{column}target: {_flow(target, indent)}"


def _found(mapping: MappingNode, key: str) -> tuple[Node, MappingNode]:
    """A key and its value, with their places."""
    return next((k, value) for k, value in mapping.value if k.value == key)


def _end_index(node: Node) -> int:
    """Where the text of a value ends, without comments after it."""
    if isinstance(node, CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end_index(last[1] if isinstance(node, MappingNode) else last)
    return int(node.end_mark.index)


def _flow(target: Target, indent: int) -> str:
    """A target in braces; lines after the first begin with `indent` spaces."""
    value = _on_one_line(target) if isinstance(target, Mapping) else target
    yaml, text = YAML(), io.StringIO()
    yaml.width = _WIDTH - indent
    yaml.dump({"target": value}, text)
    lines = text.getvalue().removeprefix("target:").splitlines()
    return f"\n{' ' * indent}".join(line.strip() for line in lines)


def _read(path: Path) -> tuple[CommentedMap, list[str]]:
    """The checked file with the places of all keys, and its lines, each with its end."""
    load(path)
    tree = parse(path)
    if tree["devices"] and tree["devices"].fa.flow_style():
        raise ConfigError(
            f"{path}: `devices` are in braces; write them one below the other, or change the "
            "file yourself"
        )
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return tree, [*lines[:-1], lines[-1].removesuffix("\n") + "\n"]


def _draft(path: Path, lines: list[str]) -> Draft:
    text = "".join(lines)
    return Draft(load(path, text), text)


def _place(node: CommentedMap, key: str) -> tuple[int, int]:
    """Line and column of a key, from 0."""
    line, column = node.lc.key(key)
    return int(line), int(column)


def _end(lines: list[str], devices: CommentedMap, name: str) -> int:
    """The line after a device's entry; what is written above the next one belongs to that."""
    start, indent = _place(devices, name)
    end = start + 1
    for number, line in enumerate(lines[end:], end):
        text = line.lstrip()
        is_inside = len(line) - len(text) > indent
        if text and not is_inside and not text.startswith("#"):
            break
        if text and is_inside:
            end = number + 1
    return end


def _rendered(name: str, entry: Mapping[str, Any], indent: int) -> list[str]:
    """The lines of an entry, a line for each of its keys."""
    values = CommentedMap(entry)
    for key, value in entry.items():
        if isinstance(value, (Mapping, list, tuple)):
            values[key] = _on_one_line(value)
    yaml, text = YAML(), io.StringIO()
    yaml.width = 1 << 16
    yaml.dump({name: values}, text)
    return [" " * indent + line for line in text.getvalue().splitlines(keepends=True)]


def _on_one_line(value: Any) -> CommentedMap | CommentedSeq:
    node = CommentedMap(value) if isinstance(value, Mapping) else CommentedSeq(value)
    node.fa.set_flow_style()
    return node
