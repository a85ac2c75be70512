"""A farm with a small campaign, and its service: a real server at a port of its own."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, build_opener

import pytest

from farm.farm import Farm
from farm.service.app import service
from farm.service.serving import Server, settings
from farm.store import Store
from tests.conftest import FAKES

KEY = "the owner's key"


@dataclass
class Reply:
    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass
class Served:
    """A service that runs. Calling it asks it something, as its owner if nothing else is said."""

    url: str
    folder: Path
    tokens: dict[str, str] = field(default_factory=dict)

    def __call__(
        self,
        path: str,
        data: bytes | dict[str, Any] | None = None,
        token: str | None = KEY,
        method: str | None = None,
        **headers: str,
    ) -> Reply:
        said = {name.replace("_", "-"): value for name, value in headers.items()}
        if isinstance(data, dict):
            data, said["content-type"] = json.dumps(data).encode(), "application/json"
        if token is not None:
            said["authorization"] = f"Bearer {token}"
        request = Request(self.url + path, data, said, method=method)
        try:
            with build_opener().open(request, timeout=60) as reply:
                return Reply(reply.status, reply.headers, reply.read())
        except HTTPError as e:
            with e:
                return Reply(e.code, e.headers, e.read())

    @property
    def farm(self) -> Farm:
        return Farm.open(self.folder / "cluster.yaml")

    def token(self, name: str, role: str, lasts_s: float | None = None) -> str:
        with Store(self.folder / "results") as store:
            return store.add_token(name, role, lasts_s)


@pytest.fixture(scope="session")
def served(tmp_path_factory) -> Iterator[Served]:
    from farm.campaign.planning import Launch

    folder = tmp_path_factory.mktemp("served")
    (folder / "cluster.yaml").write_text(FAKES)
    farm = Farm.open(folder / "cluster.yaml")
    farm.launch(Launch(space="nb201", devices=["a", "b"], budget=5, holdout=4), "inline")
    with running(farm) as url:
        yield Served(url, folder)


@pytest.fixture(scope="session")
def changing(served, tmp_path_factory) -> Iterator[Served]:
    """A copy of the same, for tests that measure or launch."""
    folder = tmp_path_factory.mktemp("changing") / "farm"
    shutil.copytree(served.folder, folder)
    (folder / "results" / "service.json").unlink(missing_ok=True)
    with running(Farm.open(folder / "cluster.yaml")) as url:
        yield Served(url, folder)


class running:  # noqa: N801 - used as a function
    """A service of a farm in a thread; a context manager that gives its address."""

    def __init__(self, farm: Farm) -> None:
        self._farm = farm

    def __enter__(self) -> str:
        began = threading.Event()

        def run() -> None:
            # The store of the event loop's thread is opened in it.
            self._server = Server(settings(service(self._farm, KEY, executor="inline")))
            self._server.config.port = 0
            began.set()
            self._server.run()

        self._thread = threading.Thread(target=run)
        self._thread.start()
        began.wait(60)
        while not self._server.started:
            time.sleep(0.01)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}"

    def __exit__(self, *exception: object) -> None:
        self._server.should_exit = True
        self._thread.join(60)
