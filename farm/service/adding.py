"""The page that adds a device over SSH, and the page of a job, which does it."""

from __future__ import annotations

from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from farm.core.errors import UsageError
from farm.service.jobs import Jobs
from farm.service.pages import page
from farm.service.problems import status_of
from farm.service.who import Who
from farm.store.tokens import ADMIN

adding = APIRouter(include_in_schema=False)

_FIELDS = ("name", "host", "key", "fingerprint")

_LOOK_AGAIN_S = "2"


@adding.get("/add-device")
async def form(request: Request) -> Response:
    _admin(request)
    return page(request, "add-device", {"said": dict.fromkeys(_FIELDS, ""), "wrong": None})


@adding.post("/add-device")
async def add(request: Request) -> Response:
    """Begin what `farm device add` does, and show how far it is; or what is wrong."""
    who = _admin(request)
    sent = parse_qs((await request.body()).decode(errors="replace"))
    said = {name: sent.get(name, [""])[0].strip() for name in _FIELDS}
    jobs: Jobs = request.app.state.jobs
    try:
        _must_be_sound(said)
    except UsageError as e:
        return page(request, "add-device", {"said": said, "wrong": str(e)}, status_of(e))
    login = [f"--{name}={said[name]}" for name in ("host", "key", "fingerprint")]
    job = jobs.begin(["device", "add", said["name"], "--kind=ssh", *login, "--json"], [], who)
    return RedirectResponse(f"/jobs/{job.name}", 303)


@adding.get("/jobs/{job}")
async def job(request: Request, job: str) -> Response:
    """What a job does; the browser looks again until it has ended."""
    jobs: Jobs = request.app.state.jobs
    found = jobs.job(job).to_json()
    shown = page(request, "job", {"job": found})
    if found["state"] == "running":
        shown.headers["refresh"] = _LOOK_AGAIN_S
    return shown


def _admin(request: Request) -> Who:
    """Raises NotAllowed."""
    who: Who = request.state.who
    who.must_be(ADMIN)
    return who


def _must_be_sound(said: dict[str, str]) -> None:
    """What the command cannot say of them itself. Raises UsageError."""
    if missing := [name for name, value in said.items() if not value]:
        raise UsageError(f"a device over SSH needs a {missing[0]}; fill it in")
    if said["name"].startswith("-"):
        raise UsageError(f"a device's name begins with a letter or a digit, got {said['name']!r}")
