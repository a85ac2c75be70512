"""Ctrl-C and SIGTERM: one line that says what is kept and what goes on, and no process left.

What was measured is in the store by then, so that nothing has to be wound up. Winding up is also
what cannot be done at any moment: an exception that is raised in the middle of an import, or of
Ray's start, has ended in tracebacks and in a signal 11.

Imports next to nothing, so that it is there early.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

_VERBS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
_SHOW_CURSOR = "\x1b[?25h"

_words: list[Callable[[], str]] = [lambda: "nothing was begun"]
"""The last is what is said; those before it, where that cannot be known at the moment."""


def watch() -> None:
    """From now on Ctrl-C and SIGTERM end this process, which must be the command's own."""
    for number in _VERBS:
        if signal.getsignal(number) != signal.SIG_IGN:  # as `nohup` and `&` would have it
            signal.signal(number, _end)


def say(*words: Callable[[], str]) -> None:
    """What is said from now on: the last that can be known when it is asked for."""
    _words[:] = [lambda: f"`{command_line()}` runs it again", *words]


def command_line() -> str:
    """The command as it was given."""
    import shlex

    return shlex.join(["farm", *sys.argv[1:]])


def _end(number: int, _: FrameType | None) -> None:
    with suppress(ValueError):  # in another thread, which nothing interrupts
        for other in _VERBS:
            signal.signal(other, signal.SIG_IGN)
    verb = _VERBS[signal.Signals(number)]
    cursor = _SHOW_CURSOR if os.isatty(2) else ""
    with suppress(OSError):
        os.write(2, f"{cursor}farm: {verb}; {_said()}\n".encode(errors="replace"))
    with suppress(Exception):
        _remove_scratch()
    with suppress(Exception):
        _end_children()
    os._exit(128 + number)


def _said() -> str:
    for words in reversed(_words):
        # It may ask for a module that is half imported, or a file that is half written.
        with suppress(Exception):
            return words()
    return "nothing is known of what was done"


def _remove_scratch() -> None:
    import gc
    from tempfile import TemporaryDirectory

    for thing in gc.get_objects():
        if type(thing) is TemporaryDirectory:
            thing.cleanup()


def _end_children() -> None:
    """Children that stand still start no others, and then all can be ended."""
    import psutil

    me, found = psutil.Process(), set[psutil.Process]()
    while fresh := set(me.children(recursive=True)) - found:
        for process in fresh:
            with suppress(psutil.Error):
                process.suspend()
        found |= fresh
    for process in found:
        with suppress(psutil.Error):
            process.kill()
