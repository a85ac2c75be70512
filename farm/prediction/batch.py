"""Many networks at once: one that cannot be read says so, and the others are answered."""

from __future__ import annotations

import json
from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, Protocol, TypeVar

from farm.core.errors import FarmError, UsageError
from farm.core.extras import of_extra
from farm.core.values import Network
from farm.spaces.given import given_network
from farm.spaces.sizes import Sizes

_OPEN = Sizes()


@dataclass(frozen=True, eq=False)
class Batch:
    """What was asked, in its order: the network in each row that could be read, or what is wrong
    with it. models: of the ONNX files among them, by their codes."""

    asked: tuple[str, ...]
    networks: Mapping[int, Network]
    errors: Mapping[int, str]
    models: Mapping[str, bytes]

    @classmethod
    def read(cls, asked: Iterable[str], stored: Mapping[str, bytes], sizes: Sizes = _OPEN) -> Batch:
        """Networks as `SPACE/CODE`, cell strings, or paths of .onnx files. stored: ONNX models that
        are known already. sizes: of a file's inputs, where it leaves them open.

        Raises UsageError where no network is named.
        """
        words = tuple(asked)
        if not words:
            raise UsageError("no network is named; write one a line")
        networks: dict[int, Network] = {}
        errors: dict[int, str] = {}
        models: dict[str, bytes] = {}
        for row, text in enumerate(words):
            try:
                networks[row], own = given_network(text, sizes, stored)
                models.update(own)
            except UsageError as e:
                errors[row] = str(e)
        return cls(words, networks, errors, models)

    def must_be_read(self) -> None:
        """Raises UsageError for the first row that could not be read."""
        Answers(self.asked, {}, self.errors).must_have_all()

    @cached_property
    def by_space(self) -> dict[str, dict[int, Network]]:
        """Rows and networks of each search space."""
        found: dict[str, dict[int, Network]] = {}
        for row, network in self.networks.items():
            found.setdefault(network.space, {})[row] = network
        return found


class Answer(Protocol):
    """What is said of a network: whole, and as a row of a table."""

    def to_json(self) -> dict[str, Any]: ...

    def to_row(self) -> dict[str, Any]: ...


Found = TypeVar("Found", bound=Answer)


@dataclass(frozen=True, eq=False)
class Answers(Generic[Found]):
    """found: the answer in each row that has one. errors: why the others have none."""

    asked: tuple[str, ...]
    found: Mapping[int, Found]
    errors: Mapping[int, str]

    @classmethod
    def of(
        cls, batch: Batch, answer: Callable[[Sequence[Network]], Iterable[Found | str]]
    ) -> Answers[Found]:
        """answer: of networks of one space, a sentence in place of one that there is not; a
        FarmError is that of all of them."""
        found: dict[int, Found] = {}
        errors = dict(batch.errors)
        for own in batch.by_space.values():
            try:
                for row, said in zip(own, answer(list(own.values())), strict=True):
                    if isinstance(said, str):
                        errors[row] = said
                    else:
                        found[row] = said
            except FarmError as e:
                errors.update(dict.fromkeys(own, str(e)))
        return cls(batch.asked, found, errors)

    def __iter__(self) -> Iterator[Found]:
        """Those that there are, in the order in which they were asked for."""
        return (self.found[row] for row in sorted(self.found))

    def must_have_any(self) -> None:
        """Raises UsageError where there is no answer at all, with the reason of the first row."""
        if not self.found:
            raise UsageError(self.errors[0])

    def must_have_all(self) -> None:
        """Raises UsageError for the first row without an answer."""
        if self.errors:
            row = min(self.errors)
            where = f"row {row + 1} of {len(self.asked)}: " if len(self.asked) > 1 else ""
            raise UsageError(where + self.errors[row])

    def lines(self) -> Iterator[dict[str, Any]]:
        """One JSON object for each row: the answer, or `network` as it was written and `error`."""
        return self._each(lambda found: found.to_json())

    def rows(self) -> Iterator[dict[str, Any]]:
        """The same, each as a row of a table."""
        return self._each(lambda found: found.to_row())

    def to_pandas(self) -> Any:
        """A pandas.DataFrame of `rows`. Raises MissingExtra where pandas is not installed."""
        return data_frame(self.rows())

    def _each(self, told: Callable[[Found], dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for row, text in enumerate(self.asked):
            if row in self.found:
                yield told(self.found[row])
            else:
                yield {"network": text, "error": self.errors[row]}


def data_frame(rows: Iterable[Mapping[str, Any]]) -> Any:
    """A pandas.DataFrame. Raises MissingExtra where pandas is not installed."""
    with of_extra("pandas"):
        import pandas
    return pandas.DataFrame(list(rows))


def chained(models: Mapping[str, bytes], stored: Mapping[str, bytes]) -> Mapping[str, bytes]:
    """ONNX models that were given, and those of a store."""
    # Of the maps of a chain only the first is ever written.
    return ChainMap(dict(models), stored)  # type: ignore[arg-type]


def words_of(text: str) -> list[str]:
    """The networks that a file names, one a line: as text, as a JSON string, or as a JSON object
    with `network`. What is neither is handed on as it is, so that its row says what is wrong."""
    return [_word(line.strip()) for line in text.splitlines() if line.strip()]


def _word(line: str) -> str:
    if line[0] not in '{"':
        return line
    try:
        said = json.loads(line)
    except ValueError:
        return line
    named = said.get("network") if isinstance(said, dict) else said
    return named if isinstance(named, str) else line
