"""Questions for which devices measure: each is answered by a process of its own, by the command
that answers it on a terminal. They are forgotten with the service; what was measured is kept."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Any

from farm.core.errors import TooBusy, UnknownName
from farm.farm import Farm
from farm.service.running import command
from farm.service.who import Who
from farm.store import rows
from farm.store.tokens import ADMIN

MOST = 8
"""That are answered at a time: each is a process with a predictor of its own."""

_KEPT = 200
"""Answers, the newest."""

_LOOKS_S = 0.1
"""How often those that are waited for are looked at."""

_USAGE = 2
"""The exit code of a command that was asked for something wrong."""


@dataclass(frozen=True, eq=False)
class Job:
    """A question that is being answered. asked_by: the name of a token. doing: its command."""

    name: str
    asked_by: str
    doing: str
    since: str
    process: subprocess.Popen[bytes]
    out: IO[bytes]
    err: IO[bytes]

    @property
    def state(self) -> str:
        """`running`, `done` or `failed`."""
        code = self.process.poll()
        if code is None:
            return "running"
        return "done" if self._answer() is not None else "failed"

    def to_json(self) -> dict[str, Any]:
        """With `answer`, what the command printed with --json, once it is done; `message`: what it
        said last; `error`: the kind of error where it failed."""
        state = self.state
        kind = "UsageError" if self.process.returncode == _USAGE else "FarmError"
        return {
            "job": self.name,
            "state": state,
            "doing": self.doing,
            "asked_by": self.asked_by,
            "since": self.since,
            "message": self._message(),
            "error": kind if state == "failed" else None,
            "answer": self._answer() if state == "done" else None,
        }

    def _answer(self) -> dict[str, Any] | None:
        """None where it was ended before it had one."""
        try:
            found: dict[str, Any] = json.loads(_read(self.out))
        except ValueError:
            return None
        return found

    def _message(self) -> str | None:
        lines = _read(self.err).decode(errors="replace").splitlines()
        said = next((line.strip() for line in reversed(lines) if line.strip()), None)
        return said and said.removeprefix("farm: ")


class Jobs:
    """Of one service; of the thread of its event loop."""

    def __init__(self, farm: Farm) -> None:
        self._farm = farm
        self._jobs: dict[str, Job] = {}
        self._begun = 0

    def begin(self, words: Sequence[str], networks: Sequence[str], who: Who) -> Job:
        """Start a command. networks: that it reads from its stdin. Raises TooBusy."""
        at_work = [one for one in self._jobs.values() if one.process.poll() is None]
        if len(at_work) >= MOST:
            raise TooBusy(
                f"{len(at_work)} questions are being measured; ask again once one is done"
            )
        self._begun += 1
        asked, out, err = (tempfile.TemporaryFile() for _ in range(3))  # noqa: SIM115 - of the job
        with asked:
            # As JSON, a name stays one name whatever is in it.
            asked.write("".join(f"{json.dumps(one)}\n" for one in networks).encode())
            asked.seek(0)
            process = command(self._farm.config, words, asked, out, err, who.name)
        doing = f"farm {words[0]}"
        job = Job(f"q{self._begun}", who.name, doing, rows.now(), process, out, err)
        self._jobs[job.name] = job
        self._forget()
        return job

    def job(self, name: str) -> Job:
        """Raises UnknownName."""
        if name not in self._jobs:
            hint = "a service that starts again forgets them; ask again: what was measured is kept"
            raise UnknownName("job", name, self._jobs, hint)
        return self._jobs[name]

    async def wait(self, job: Job, wait_s: float) -> None:
        """Until it has ended, or for so long."""
        until = time.monotonic() + wait_s
        while job.process.poll() is None and time.monotonic() < until:
            await asyncio.sleep(_LOOKS_S)

    def end(self, name: str, who: Who) -> Job:
        """End one's own, or any for an admin. Raises UnknownName and NotAllowed."""
        job = self.job(name)
        if job.asked_by != who.name:
            who.must_be(ADMIN)
        job.process.terminate()
        return job

    def close(self) -> None:
        """End them all."""
        for job in self._jobs.values():
            job.process.terminate()
        for job in self._jobs.values():
            job.process.wait()
            _close(job)

    def _forget(self) -> None:
        ended = [one for one in self._jobs.values() if one.process.poll() is not None]
        for job in ended[: max(0, len(self._jobs) - _KEPT)]:
            _close(self._jobs.pop(job.name))


def _close(job: Job) -> None:
    job.out.close()
    job.err.close()


def _read(file: IO[bytes]) -> bytes:
    """From the beginning; where the command writes next stays as it is, as that is shared."""
    return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0)
