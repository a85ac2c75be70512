"""Where a search has its networks' accuracies from.

    table:nb201.npz:cifar10       a published table and its data set
    csv:FILE or FILE.csv          a file of the user's own with the columns `network,accuracy`
    predicted:FILE                the same file as results, from which all others are predicted
    proxy:NAME                    a zero-cost proxy; proxy:vote and proxy:rank of several
    python:MODULE:FUNCTION        a function of the user's own, of a network's id

The larger the better, in whatever unit.
"""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol
from zipfile import BadZipFile

import numpy as np

from agents.published_table import space_of, table_path
from farm.core.errors import FarmError, UnknownName, UsageError
from farm.core.values import Network
from farm.prediction.proxies import measure
from farm.spaces import parse_network
from farm.spaces.base import SearchSpace
from predictors import FloatArray

DATA_SETS = ("cifar10", "cifar100", "imagenet16-120")
"""Columns of `acc` in a published table that does not name them."""

Function = Callable[[str], float]
"""From a network's id, SPACE/CODE, to its accuracy."""

VOTERS = ("synflow", "jacov", "snip")
"""Abdelfattah et al., Zero-Cost Proxies for Lightweight NAS, ICLR 2021, section 3.2.5."""


class Accuracy(Protocol):
    """listed: all networks that there is one of; None where it can be asked of any."""

    @property
    def listed(self) -> Sequence[Network] | None: ...

    def __call__(self, networks: Sequence[Network]) -> FloatArray:
        """(N,). Raises UsageError where one has none."""
        ...


@dataclass(frozen=True, eq=False)
class Listed:
    """What a table or a file says. name: of a file of the user's own."""

    of: Mapping[Network, float]
    name: str | None = None

    @property
    def listed(self) -> Sequence[Network]:
        return list(self.of)

    def __call__(self, networks: Sequence[Network]) -> FloatArray:
        return np.array([self.of[network] for network in networks])


@dataclass(frozen=True, eq=False)
class Asked:
    """What a function says of each network; it is asked once."""

    name: str
    function: Function
    said: dict[Network, float] = field(default_factory=dict)
    listed: None = None

    def __call__(self, networks: Sequence[Network]) -> FloatArray:
        for network in networks:
            if network not in self.said:
                self.said[network] = self._ask(network)
        return np.array([self.said[network] for network in networks])

    def _ask(self, network: Network) -> float:
        try:
            found = float(self.function(network.id))
        except FarmError:
            raise
        except Exception as e:  # it is the user's own
            raise UsageError(
                f"--accuracy {self.name} failed on {network.id}: {type(e).__name__}: {e}"
            ) from e
        if not math.isfinite(found):
            raise UsageError(
                f"--accuracy {self.name} must give a finite number, got {found} for {network.id}"
            )
        return found


@dataclass(frozen=True, eq=False)
class Proxies:
    """Several zero-cost proxies together, relative to the networks that are asked about.

    by_vote: how many others a network beats by most of the proxies; else its mean rank.
    """

    each: Sequence[Asked]
    by_vote: bool
    listed: None = None

    def __call__(self, networks: Sequence[Network]) -> FloatArray:
        scores = np.stack([one(networks) for one in self.each])
        beaten = np.stack([(own[:, None] > own) for own in scores])
        if self.by_vote:
            return np.asarray((beaten.sum(0) > len(scores) / 2).sum(1), float)
        return np.asarray(beaten.sum((0, 2)) / len(scores), float)


def accuracy_of(source: str | Function, space: SearchSpace, seed: int = 0) -> Accuracy:
    """Raises UsageError and UnknownName for what cannot be read."""
    if not isinstance(source, str):
        return Asked(getattr(source, "__name__", "function"), source)
    kind, _, rest = source.partition(":")
    if kind == "table" and rest:
        return _table(rest, space)
    if kind == "csv" and rest:
        return Listed(_csv(Path(rest), space), rest)
    if kind == "predicted" and rest:
        from farm.search.few import Predicted

        return Predicted(space, _csv(Path(rest), space), seed)
    if kind == "proxy" and rest:
        return _proxy(rest, space, seed)
    if kind == "python" and rest:
        return Asked(source, _function(rest))
    if source.endswith(".csv"):
        return Listed(_csv(Path(source), space), source)
    raise UsageError(
        "--accuracy is table:FILE.npz:DATASET, csv:FILE, predicted:FILE, proxy:NAME or "
        f"python:MODULE:FUNCTION, got {source!r}"
    )


def _table(text: str, space: SearchSpace) -> Accuracy:
    name, _, column = text.partition(":")
    path = Path(name).expanduser()
    path = path if path.exists() else table_path(name.removesuffix(".npz"))
    try:
        with np.load(path) as data:
            values, codes = data["acc"].astype(float), data["arch_str"]
            names = _data_sets(data)
    except (OSError, ValueError, KeyError, BadZipFile) as e:
        reason = getattr(e, "strerror", None) or str(e).strip("'")
        raise UsageError(f"--accuracy: no table of accuracies in {path}: {reason}") from e
    if space_of(path) != space.name:
        raise UsageError(f"--accuracy: {path.name} is of {space_of(path)}, not of {space.name}")
    column = column or names[0]
    if column not in names:
        raise UnknownName("data set", column, names)
    each = zip(codes, values[:, names.index(column)], strict=True)
    return Listed({Network(space.name, str(code)): float(v) for code, v in each if np.isfinite(v)})


def _data_sets(data: Any) -> tuple[str, ...]:
    """Names of the columns, without what a table adds to them, such as `_test_200ep`."""
    if "acc_names" not in data:
        return DATA_SETS
    return tuple(str(name).partition("_")[0] for name in data["acc_names"])


def _csv(path: Path, space: SearchSpace) -> dict[Network, float]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        reason = getattr(e, "strerror", None) or getattr(e, "reason", None) or e
        raise UsageError(f"--accuracy: {path} cannot be read: {reason}") from e
    if not rows or not {"network", "accuracy"} <= rows[0].keys():
        raise UsageError(f"--accuracy: {path} must have the columns `network,accuracy` and a row")
    found: dict[Network, float] = {}
    for number, row in enumerate(rows, 2):
        found[_network(row["network"], space, f"{path}, line {number}")] = _number(
            row["accuracy"], f"{path}, line {number}"
        )
    return found


def _network(text: str | None, space: SearchSpace, where: str) -> Network:
    try:
        named = (text or "").strip()
        known = "/" in named.partition("|")[0] or named.startswith("|")
        found = parse_network(named) if known else space.parse(named)
    except UsageError as e:
        raise UsageError(f"--accuracy: {where}: {e}") from e
    if found.space != space.name:
        raise UsageError(f"--accuracy: {where}: {found.id} is no network of {space.name}")
    return found


def _number(text: str | None, where: str) -> float:
    try:
        found = float(text or "")
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise UsageError(f"--accuracy: {where}: an accuracy is a finite number, got {text!r}")
    return found


def _proxy(name: str, space: SearchSpace, seed: int) -> Accuracy:
    from predictors.encodings.zcp import NAMES

    known: dict[str, dict[str, float]] = {}

    def score(network: str, own: str) -> float:
        if network not in known:
            known[network] = measure(space, parse_network(network), seed)
        return known[network][own]

    def asked(own: str) -> Asked:
        return Asked(f"proxy:{own}", lambda network: score(network, own))

    if name in ("vote", "rank"):
        voters = VOTERS if name == "vote" else NAMES
        return Proxies([asked(own) for own in voters], name == "vote")
    if name not in NAMES:
        raise UnknownName("proxy", name, [*NAMES, "vote", "rank"])
    return asked(name)


def _function(text: str) -> Function:
    module, _, name = text.partition(":")
    # As with `python -m`, a module may be a file in the current folder; what is installed comes
    # first.
    if "" not in sys.path:
        sys.path.append("")
    try:
        found = getattr(import_module(module), name or "accuracy")
    except (ImportError, AttributeError, ValueError) as e:
        raise UsageError(
            f"--accuracy: no function {text!r}: {e}; write python:MODULE:FUNCTION"
        ) from e
    if not callable(found):
        raise UsageError(f"--accuracy: {text} must be a function of a network's id")
    function: Function = found
    return function
