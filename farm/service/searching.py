"""A search that somebody asks for over HTTP, as the words of the command that answers it."""

from __future__ import annotations

from pathlib import PurePath

from farm.core.errors import UsageError
from farm.search.setting import Search
from farm.service.asked import ToSearch


def search_words(asked: ToSearch) -> list[str]:
    """Raises UsageError for what cannot be searched, or reads what is not for those who ask."""
    _must_be_published(asked.accuracy)
    Search(**asked.model_dump(exclude={"wait_s"}))
    limit = asked.max_latency_s
    limits = limit if isinstance(limit, list) else [] if limit is None else [limit]
    given = {
        "device": ",".join(asked.devices),
        "max-latency": ",".join(f"{one:.12f}s" for one in limits) or None,
        **{name: getattr(asked, name) for name in ("accuracy", "space", "floor", "reward")},
        **{name: getattr(asked, name) for name in ("weight", "strategy", "evaluations")},
        **{name: getattr(asked, name) for name in ("budget", "confidence", "seed")},
        "at-once": asked.at_once,
        "warm-start": asked.warm_start,
    }
    words = [f"--{name}={value}" for name, value in given.items() if value is not None]
    return ["search", *words, *["--pareto"] * asked.pareto, "--json"]


def _must_be_published(accuracy: str) -> None:
    """A file or a function is for who sits at this computer. Raises UsageError."""
    kind, _, rest = accuracy.partition(":")
    file = rest.partition(":")[0]
    if kind == "proxy" or (kind == "table" and PurePath(file).name == file and file[:1] != "~"):
        return
    raise UsageError(
        "the service reads no files and runs no functions of those who ask: --accuracy is "
        f"table:FILE.npz:DATASET of a published table, or proxy:NAME, got {accuracy[:80]!r}"
    )
