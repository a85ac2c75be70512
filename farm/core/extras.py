"""What is installed only where it is wanted: the package's extras, and how to get a missing one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from farm.core.errors import FarmError, MissingExtra

EXTRAS = {
    "vela": "devices of kind vela: Arm Ethos-U NPUs, estimated by Arm's compiler",
    "zigzag": "devices of kind zigzag: accelerators with arrays of multipliers, estimated",
    "baselines": "forests and boosted trees, which benchmarks compare the predictor with",
    "pandas": "predictions and encodings as data frames, `.to_pandas()`",
    "search": "NSGA-II among the strategies of `farm search`",
    "service": "the service and its pages: `farm serve`",
    "docs": "building the pages of docs/ as a site",
    "dev": "working on the farm: its tests, lint and types",
}
"""What each extra is for."""


def install_command(extra: str) -> str:
    """What installs an extra, in the farm's folder."""
    return f"pip install -c constraints.txt -e '.[{extra}]'"


@contextmanager
def of_extra(extra: str, error: type[FarmError] = MissingExtra) -> Iterator[None]:
    """Says of a package that turns out to be missing within which extra brings it.

    error: raised for a package that is not installed, whether it is imported or its version asked.
    """
    try:
        yield
    except ModuleNotFoundError as e:
        raise error(
            f"{e.name} is not installed; it comes with the extra `{extra}`: in the farm's folder "
            f"run `{install_command(extra)}`"
        ) from e
