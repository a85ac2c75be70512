"""A headless Chromium, driven over pipes with the DevTools protocol."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"),
    "--no-first-run",
)
_SILENT_S = 60.0


class Browser:
    """One page. to, out: ends of the pipes that commands go through, and answers come from."""

    def __init__(self, to: int, out: int) -> None:
        self._to = to
        self._out = out
        self._rest = b""
        self._number = 0
        self.events: list[dict[str, Any]] = []
        self._session: str | None = None
        target = self("Target.createTarget", url="about:blank")["targetId"]
        own = self("Target.attachToTarget", targetId=target, flatten=True)
        self._session = own["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self(f"{domain}.enable")

    def __call__(self, method: str, **params: Any) -> dict[str, Any]:
        """Do something; what came of it."""
        self._number += 1
        said: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session:
            said["sessionId"] = self._session
        os.write(self._to, json.dumps(said).encode() + b"\0")
        while True:
            found = self._read()
            if found.get("id") == self._number:
                assert "error" not in found, (method, found["error"])
                return dict(found["result"])

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._out], [], [], _SILENT_S)
            assert ready, "the browser fell silent"
            part = os.read(self._out, 1 << 20)
            assert part, "the browser ended"
            self._rest += part
        one, _, self._rest = self._rest.partition(b"\0")
        found = dict(json.loads(one))
        if "method" in found:
            self.events.append(found)
        return found

    def open(self, url: str) -> None:
        """Go to an address, and wait until it is there with all that it shows."""
        self.events.clear()
        self("Page.navigate", url=url)
        self.wait()

    def wait(self) -> None:
        """Until the next page is there."""
        while not any(e["method"] == "Page.loadEventFired" for e in self.events):
            self._read()

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        told = self("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def size(self, width: int, height: int) -> None:
        self(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def picture(self, path: Path) -> None:
        """A screenshot of the whole page."""
        told = self("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(told["data"]))

    @property
    def asked(self) -> set[str]:
        """The addresses that were asked for since `open`."""
        return {
            e["params"]["request"]["url"]
            for e in self.events
            if e["method"] == "Network.requestWillBeSent"
        }

    @property
    def complaints(self) -> list[str]:
        """What the browser had to say of the page since `open`."""
        return [
            e["params"]["entry"]["text"] for e in self.events if e["method"] == "Log.entryAdded"
        ]


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A browser of its own, which keeps its files in a folder."""
    program = shutil.which("chromium")
    assert program is not None
    (theirs_in, to), (out, theirs_out) = os.pipe(), os.pipe()

    def place() -> None:
        # Chromium reads commands from 3 and answers at 4.
        a, b = os.dup(theirs_in), os.dup(theirs_out)
        os.dup2(a, 3)
        os.dup2(b, 4)

    words = [program, *_FLAGS, f"--user-data-dir={folder}"]
    with subprocess.Popen(
        words, preexec_fn=place, close_fds=False, stderr=subprocess.DEVNULL
    ) as process:
        os.close(theirs_in)
        os.close(theirs_out)
        try:
            own = Browser(to, out)
            yield own
            own._session = None
            own("Browser.close")
        finally:
            os.close(to)
            os.close(out)
            process.kill()
