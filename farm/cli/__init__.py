"""The `farm` command. Each command parses, calls one function and prints."""

import os

# Read when numpy is loaded: linear algebra on all cores would run beside a device that measures.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from farm.cli import ending


def main() -> None:
    """The entry of the command's own process."""
    ending.watch()
    from farm.cli.main import main as run  # half a second, in which Ctrl-C may come, too

    run()


__all__ = ["main"]
