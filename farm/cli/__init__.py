"""The `farm` command. Each command parses, calls one function and prints."""

from farm.cli.main import main

__all__ = ["main"]
