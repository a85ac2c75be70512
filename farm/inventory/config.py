"""cluster.yaml as typed values. Every mistake in the file is reported at once, with its line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from agents import AGENTS, agent_class
from farm.core.errors import ConfigError, UnknownName
from farm.core.values import share
from farm.inventory.sense import Location, Mistake, mistakes_of_sense, shown, too_deep
from farm.measurement.spec import MeasureSpec

_DEVICE_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_KIND = re.compile(r"[a-z][a-z0-9-]*|[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_SPEC = TypeAdapter(MeasureSpec)
_Model = TypeVar("_Model", bound=BaseModel)


class ControlPolicy(BaseModel):
    """How a device is watched over, see `farm.devices.control_chart`.

    every: measurements between two rounds of control networks: with 1 each group has them, and
        its latencies are told at the baseline of the control networks; 0 measures none.
    tolerated: a lasting shift up to this, relative, is no drift. A turbo clock that moves all
        networks by 5 % for minutes is ordinary on a shared host; a host of one's own bears 0.01.
    pause_s: before a device that is out of control is looked at again.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    every: Annotated[int, Field(ge=0)] = 1
    tolerated: Annotated[float, Field(gt=0, lt=1)] = 0.06
    pause_s: Annotated[float, Field(ge=0)] = 30.0


class PublishedTable(BaseModel):
    """Latencies that others measured, which serve as references.

    file: a `.npz` table (`agents.published_table`): beside cluster.yaml, or else in $FARM_DATA or
        ../shared/data.
    devices: the columns that are used; all without it.
    space: the search space of its networks; by default the one that the file is named for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    file: str
    devices: Annotated[list[str], Field(min_length=1)] | None = None
    space: str | None = None


@dataclass(frozen=True)
class Device:
    """A device as its owner described it: `options` is its kind's own model."""

    name: str
    kind: str
    options: BaseModel
    spec: MeasureSpec
    controls: ControlPolicy


@dataclass(frozen=True)
class FarmConfig:
    """A checked cluster.yaml.

    store: folder of the database and the artifacts.
    ray: address of a Ray cluster, or None for a local one.
    references: devices of the HWL encoding, in its order.
    compile_workers: at most so many compile actors on a host; None for one per core.
    published: tables whose columns are references of the predictor.
    """

    path: Path
    store: Path
    ray: str | None
    references: tuple[str, ...]
    compile_workers: int | None
    devices: Mapping[str, Device]
    published: tuple[PublishedTable, ...] = ()

    def device(self, name: str) -> Device:
        """The device called `name`; raises UnknownName."""
        if name not in self.devices:
            raise UnknownName("device", name, self.devices, f"devices are listed in {self.path}")
        return self.devices[name]


class _File(BaseModel):
    """The top level of cluster.yaml; the devices are checked one by one, by their kinds."""

    model_config = ConfigDict(extra="forbid", strict=True)

    store: str = "farm-data"
    ray: str | None = None
    references: list[str] = []
    compile_workers: Annotated[int, Field(ge=1)] | None = None
    published: list[dict[str, Any]] | dict[str, Any] = []
    measure: dict[str, Any] = {}
    controls: dict[str, Any] = {}
    devices: dict[str, dict[str, Any]]


_RENAMED = {"anchors": "controls"}
"""Keys of earlier versions, and what they are called now."""


def load(path: Path, text: str | None = None) -> FarmConfig:
    """Read and check cluster.yaml. Raises ConfigError, a line for each mistake.

    text: what the file would say; by default what it says.
    """
    tree = parse(path, text)
    if "farm" in tree:
        raise ConfigError(
            f"{path}: the farm is at {_address(path, tree)}; this is done on the computer where it "
            "is, with the cluster.yaml there"
        )
    mistakes = list(mistakes_of_sense(tree))
    if mistakes:
        raise _report(path, tree, mistakes)
    file = _validated(_File, _plain(tree), (), mistakes)
    if file is None:
        raise _report(path, tree, mistakes)
    devices = {name: _device(name, file, mistakes) for name in file.devices}
    mistakes += _reference_mistakes(file)
    published = _published(file.published, mistakes)
    if mistakes:
        raise _report(path, tree, mistakes)
    return FarmConfig(
        path=path,
        store=path.parent.absolute() / file.store,
        ray=file.ray,
        references=tuple(file.references),
        compile_workers=file.compile_workers,
        devices={name: device for name, device in devices.items() if device is not None},
        published=published,
    )


def address(path: Path) -> str | None:
    """The service that a cluster.yaml names in place of devices, as `farm: URL`; None for a farm of
    this computer. Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None  # which is said where the file is needed
    if not re.search(r"(?m)^['\"]?farm\b", text):
        return None
    tree = parse(path, text)
    return _address(path, tree) if "farm" in tree else None


def _address(path: Path, tree: CommentedMap) -> str:
    """Raises ConfigError."""
    line = tree.lc.key("farm")[0] + 1
    if others := [str(key) for key in tree if key != "farm"]:
        raise ConfigError(
            f"{path}:{line}: `farm: URL` is for a farm on another computer, whose own cluster.yaml "
            f"has the rest; take out `farm`, or {shown(others[0])!r} and all else"
        )
    url = tree["farm"]
    if not isinstance(url, str):
        raise ConfigError(
            f"{path}:{line}: `farm` is an address such as http://127.0.0.1:8765, got "
            f"{shown(repr(url))}"
        )
    return str(url)


def parse(path: Path, text: str | None = None) -> CommentedMap:
    """The file with the places of everything in it, not checked yet. Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8") if text is None else text
        if too_deep(text):
            raise RecursionError
        tree = YAML().load(text)
    except FileNotFoundError:
        raise ConfigError(
            f"no {path}; start from the cluster.yaml of the farm, or name yours with --config"
        ) from None
    except OSError as e:
        raise ConfigError(f"{path} cannot be read: {e.strerror}") from e
    except UnicodeDecodeError as e:
        raise ConfigError(f"{path} is not a text file: {e.reason} at byte {e.start}") from e
    except MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        problem = shown((e.problem or "not YAML").splitlines()[0])
        raise ConfigError(f"{path}:{mark.line + 1 if mark else 1}: {problem}") from e
    except YAMLError as e:
        # What is no character of YAML: ruamel says where, and not in which line.
        line = (text or "").count("\n", 0, getattr(e, "position", 0)) + 1
        raise ConfigError(f"{path}:{line}: {shown(str(e).splitlines()[0])}") from e
    except RecursionError as e:
        raise ConfigError(f"{path}: lists or mappings lie too deep in each other") from e
    except (ValueError, TypeError, LookupError, AttributeError, AssertionError) as e:
        # ruamel's own mistakes with odd values: the 40th of a month, a number of 5,000 digits.
        reason = shown(str(e).splitlines()[0] if str(e) else type(e).__name__)
        raise ConfigError(f"{path}: not YAML that can be read: {reason}") from e
    if not isinstance(tree, CommentedMap):
        raise ConfigError(f"{path}:1: must be a mapping with `devices:`, got {type(tree).__name__}")
    return tree


def _plain(node: Any) -> Any:
    """The tree without ruamel's types, which pydantic's strict mode refuses."""
    if isinstance(node, CommentedMap):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, CommentedSeq):
        return [_plain(value) for value in node]
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return node


def _device(name: str, file: _File, mistakes: list[Mistake]) -> Device | None:
    entry = dict(file.devices[name])
    at: Location = ("devices", name)
    if not _DEVICE_NAME.fullmatch(name):
        rule = "a device's name is lower-case letters, digits, '-' and '_'"
        mistakes.append((at, f"{rule}, got {name!r}"))
    own = _mapping("measure", entry, at, mistakes)
    spec = _spec({**file.measure, **(own or {})}, file, name, mistakes)
    controls = _controls(_mapping("controls", entry, at, mistakes), file, at, mistakes)
    if "kind" not in entry:
        mistakes.append((at, "a device needs a `kind`, for example `kind: cpu`"))
        return None
    kind = str(entry.pop("kind"))
    options_model = _options_model(kind, (*at, "kind"), mistakes)
    if options_model is None:
        return None
    options = _validated(options_model, entry, at, mistakes)
    if options is None or spec is None or controls is None:
        return None
    return Device(name, kind, options, spec, controls)


def _options_model(kind: str, at: Location, mistakes: list[Mistake]) -> type[BaseModel] | None:
    """The options of a kind of device; None with a mistake for what is no kind."""
    if not _KIND.fullmatch(kind):
        known = ", ".join(sorted(AGENTS))
        mistakes.append((at, f"a kind is one of {known}, or package.module:Class, got {kind!r}"))
        return None
    try:
        found = getattr(agent_class(kind), "options", None)
    except UnknownName as e:
        mistakes.append((at, str(e)))
        return None
    except Exception as e:  # noqa: BLE001 - the module is somebody's own, and may raise anything
        mistakes.append((at, f"{kind!r} cannot be imported: {type(e).__name__}: {shown(str(e))}"))
        return None
    if isinstance(found, type) and issubclass(found, BaseModel):
        return found
    mistakes.append((at, f"a kind is a class of agents with `options`, which {kind!r} is not"))
    return None


def _published(
    said: list[dict[str, Any]] | dict[str, Any], mistakes: list[Mistake]
) -> tuple[PublishedTable, ...]:
    """A list of tables, or one alone."""
    at: Location = ("published",)
    if isinstance(said, dict):
        found = [_validated(PublishedTable, said, at, mistakes)]
    else:
        each = enumerate(said)
        found = [_validated(PublishedTable, one, (*at, i), mistakes) for i, one in each]
    return tuple(table for table in found if table is not None)


def _mapping(
    key: str, entry: dict[str, Any], device: Location, mistakes: list[Mistake]
) -> dict[str, Any] | None:
    """What an entry says under `key`, taken out of it; None where it says nothing."""
    value = entry.pop(key, None)
    if value is None or isinstance(value, dict):
        return value
    mistakes.append(((*device, key), f"`{key}` must be a mapping, got {shown(repr(value))}"))
    return None


def _controls(
    own: dict[str, Any] | None, file: _File, device: Location, mistakes: list[Mistake]
) -> ControlPolicy | None:
    at = ("controls",) if own is None else (*device, "controls")
    found: list[Mistake] = []
    policy = _validated(ControlPolicy, {**file.controls, **(own or {})}, at, found)
    mistakes += [mistake for mistake in found if mistake not in mistakes]
    return policy


def _spec(
    values: dict[str, Any], file: _File, device: str, mistakes: list[Mistake]
) -> MeasureSpec | None:
    own = file.devices[device].get("measure")
    at: Location = ("devices", device, "measure") if own is not None else ("measure",)
    precision = values.pop("precision", None)
    try:
        spec = _SPEC.validate_python(values)
        return spec if precision is None else spec.at_precision(share(str(precision)))
    except ValidationError as e:
        found = _from_pydantic(e, at, [*MeasureSpec.__dataclass_fields__, "precision"])
    except ValueError as e:
        found = [((*at, "precision"), str(e))]
    mistakes += [mistake for mistake in found if mistake not in mistakes]
    return None


def _reference_mistakes(file: _File) -> list[Mistake]:
    mistakes: list[Mistake] = [
        (("references", i), str(UnknownName("device", name, file.devices)))
        for i, name in enumerate(file.references)
        if name not in file.devices
    ]
    if len(set(file.references)) < len(file.references):
        mistakes.append((("references",), f"each reference once, got {file.references}"))
    return mistakes


def _validated(
    model: type[_Model], value: Any, at: Location, mistakes: list[Mistake]
) -> _Model | None:
    try:
        return model.model_validate(value)
    except ValidationError as e:
        mistakes += _from_pydantic(e, at, list(model.model_fields))
        return None


def _from_pydantic(error: ValidationError, at: Location, known: Sequence[str]) -> list[Mistake]:
    return [((*at, *e["loc"]), _message(e, known)) for e in error.errors()]


def _message(error: Any, known: Sequence[str]) -> str:
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        key = str(error["loc"][-1])
        if key in _RENAMED:
            return (
                f"`{key}` is called `{_RENAMED[key]}` now; rename it, its values stay as they are"
            )
        near = get_close_matches(key, known, n=1)
        offer = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(known)}"
        return f"unknown key `{key}`; {offer}"
    if error["type"] == "missing":
        return f"`{error['loc'][-1]}` is missing"
    reason = error["msg"].removeprefix("Value error, ")
    return f"{reason[0].lower()}{reason[1:]}, got {shown(repr(error['input']))}"


def _report(path: Path, tree: CommentedMap, mistakes: Sequence[Mistake]) -> ConfigError:
    lines = sorted((_line(tree, at), ".".join(map(str, at)), text) for at, text in mistakes)
    return ConfigError(
        "\n".join(
            f"{path}:{line}: {shown(at) + ': ' if at else ''}{text}" for line, at, text in lines
        )
    )


def _line(tree: Any, at: Location) -> int:
    """The line, counted from 1, of the deepest part of `at` that is in the file."""
    line, node = 1, tree
    for key in at:
        positions = node.lc.data if isinstance(node, (CommentedMap, CommentedSeq)) else {}
        if not positions or key not in positions:
            break
        line = positions[key][0] + 1
        node = node[key]
    return int(line)
