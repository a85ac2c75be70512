"""The pages: what a person looks at. They show without JavaScript, and ask no other host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlencode

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, PackageLoader, StrictUndefined

from farm.campaign.compare import SAME
from farm.core.errors import FarmError, UnknownName, UsageError
from farm.core.values import percent
from farm.search.accuracy import DATA_SETS
from farm.service.answering import Answering
from farm.service.api import lanes
from farm.service.guard import Guard, cookie_name
from farm.service.ordered import last_words
from farm.service.problems import status_of
from farm.spaces import SPACES

Found = TypeVar("Found")

_PATIENCE_S = 0.3
"""How long a page waits for figures that have to be computed."""

_SHOWN = 200
"""Rows of a table."""

_FILES = files("farm.service") / "static"

STATIC = {"style.css": "text/css", "icon.svg": "image/svg+xml", "live.js": "text/javascript"}
"""What pages are made with."""

pages = APIRouter(include_in_schema=False)


def _ms(seconds: float | None) -> str:
    return "–" if seconds is None else f"{1e3 * seconds:.4g}"


def _time(at: str | None) -> str:
    return "never" if at is None else at[:16].replace("T", " ")


def _share(value: float | None) -> str:
    return "–" if value is None else percent(value)


def _rho(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _templates() -> Environment:
    found = Environment(
        loader=PackageLoader("farm.service"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {"ms": _ms, "time": _time, "share": _share, "rho": _rho}
    return found


_TEMPLATES = _templates()


def page(request: Request, name: str, told: Mapping[str, Any], status: int = 200) -> HTMLResponse:
    """A page made of a template, with what it is told."""
    who = getattr(request.state, "who", None)
    text = _TEMPLATES.get_template(f"{name}.html").render(
        {**told, "who": who, "here": request.url.path}
    )
    return HTMLResponse(text, status)


def problem_page(request: Request, error: FarmError) -> HTMLResponse:
    """What went wrong, for a person."""
    return page(request, "problem", {"message": str(error)}, status_of(error))


@pages.get("/static/{name}")
async def static(name: str) -> Response:
    if name not in STATIC:
        raise UnknownName("file", name, STATIC)
    own = {"cache-control": "max-age=3600"}
    return Response((_FILES / name).read_bytes(), media_type=STATIC[name], headers=own)


# Signing in


@pages.get("/login")
async def login(request: Request, key: str = "") -> Response:
    """The form, or what the command's own address opens."""
    site = request.headers.get("sec-fetch-site", "none")
    if not key or site not in ("none", "same-origin"):
        return page(request, "login", {"wrong": None})
    return _signed_in(request, key)


@pages.post("/login")
async def login_with(request: Request) -> Response:
    sent = parse_qs((await request.body()).decode(errors="replace"))
    return _signed_in(request, sent.get("token", [""])[0].strip())


def _signed_in(request: Request, secret: str) -> Response:
    guard: Guard = request.app.state.guard
    try:
        guard.who(secret)
    except FarmError as e:
        return page(request, "login", {"wrong": str(e)}, status_of(e))
    to_board = RedirectResponse("/", 303)
    to_board.set_cookie(
        cookie_name(request.scope),
        secret,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return to_board


@pages.post("/logout")
async def logout(request: Request) -> Response:
    away = RedirectResponse("/login", 303)
    away.delete_cookie(cookie_name(request.scope))
    return away


# Looking


@pages.get("/")
async def board(request: Request) -> Response:
    """What every device does now."""

    def look(own: Answering) -> dict[str, Any]:
        newest = own.store.newest_event()  # before what is looked at, so that nothing is missed
        told = {"devices": own.devices(), "campaigns": own.campaigns()[::-1], "queue": own.queue()}
        return {**told, "newest": newest}

    return page(request, "board", await lanes(request).quick.ask(look))


@pages.get("/campaigns/{campaign}")
async def campaign(request: Request, campaign: str) -> Response:
    """A campaign as it is. What is predicted comes with it if it is known within a moment."""

    def look(own: Answering) -> dict[str, Any]:
        newest = own.store.newest_event()
        stored = own.stored(campaign)
        own_verdicts, events = own.verdicts(stored), own.events(stored)
        said = last_words(own, stored)
        return {
            "stored": stored,
            "verdicts": own_verdicts,
            "events": events,
            "said": said,
            "newest": newest,
        }

    found = await lanes(request).quick.ask(look)
    summary = await _soon(request, lambda own: own.summary(campaign))
    return page(request, "campaign", {**found, "summary": summary})


async def _soon(request: Request, question: Callable[[Answering], Found]) -> Found | None:
    """An answer to show on this page, if it is known by now; else it goes on being computed."""
    return await lanes(request).thorough.soon(request.url.path, question, _PATIENCE_S)


@pages.get("/devices/{device}")
async def device(request: Request, device: str) -> Response:
    """Whether a device can be trusted."""
    found = await lanes(request).quick.ask(lambda own: own.device(device))
    kernels = await _soon(request, lambda own: own.kernel_times(device))
    return page(request, "device", {"device": found, "kernels": kernels, "shown": _SHOWN})


@pages.get("/network")
async def network(request: Request, network: str = "") -> Response:
    """A network's latency on every device, and its HWL encoding; once they are known."""
    asked = network.strip()
    told: dict[str, Any] = {"asked": asked, "found": None, "encoding": None, "wrong": None}
    if not asked:
        return page(request, "network", told)

    def look(own: Answering) -> dict[str, Any]:
        return {
            "found": own.network(asked, explain=True),
            "encoding": _encoding(own, asked),
        }

    told["newest"] = 0  # it follows no events
    try:
        known = await lanes(request).thorough.soon(f"network {asked}", look, _PATIENCE_S)
    except UsageError as e:
        return page(request, "network", {**told, "wrong": str(e)}, status_of(e))
    return page(request, "network", {**told, **(known or {})})


def _encoding(own: Answering, network: str) -> dict[str, Any]:
    try:
        (found,) = own.hwl([network]).lines()
    except UsageError as e:
        return {"error": str(e)}
    return found


@pages.get("/compare")
async def compare(request: Request, first: str = "", second: str = "") -> Response:
    """Which networks became faster or slower from one campaign to another."""
    names = await lanes(request).quick.ask(lambda own: [one["id"] for one in own.campaigns()])
    told: dict[str, Any] = {"names": names, "first": first, "second": second}
    told |= {"found": None, "wrong": None}
    if not (first and second):
        return page(request, "compare", told)
    try:
        found = await lanes(request).thorough.ask(lambda own: own.comparison(first, second))
    except UsageError as e:
        return page(request, "compare", {**told, "wrong": str(e)}, status_of(e))
    changed = [one for one in found.changes if one.verdict != SAME]
    changed.sort(key=lambda one: -abs(one.ratio - 1))
    return page(request, "compare", {**told, "found": found.to_json(), "changed": changed[:_SHOWN]})


@pages.get("/correlation")
async def correlation(request: Request, space: str = "nb201") -> Response:
    """How alike devices rank networks."""
    told: dict[str, Any] = {"space": space, "newest": 0}  # it follows no events
    told["references"] = await lanes(request).quick.ask(lambda own: own.farm.config.references)
    told["found"] = await lanes(request).thorough.soon(
        f"correlation {space}", lambda own: own.correlations(space), _PATIENCE_S
    )
    return page(request, "correlation", told)


@pages.get("/front")
async def front(
    request: Request, device: str = "", space: str = "nb201", data_set: str = DATA_SETS[0]
) -> Response:
    """Latency against accuracy of what was measured on a device, and of what is predicted."""

    def look(own: Answering) -> tuple[list[str], int]:
        return list(own.farm.config.devices), own.store.newest_event()

    devices, newest = await lanes(request).quick.ask(look)
    asked = {"device": device or devices[0], "space": space, "data_set": data_set}
    told: dict[str, Any] = {**asked, "query": urlencode(asked), "devices": devices}
    told |= {"spaces": list(SPACES), "data_sets": DATA_SETS, "found": None, "wrong": None}
    try:
        found = await lanes(request).thorough.ask(lambda own: own.front(**asked))
    except UsageError as e:
        return page(request, "front", {**told, "wrong": str(e)}, status_of(e) if device else 200)
    believed = await lanes(request).thorough.soon(
        f"front {told['query']}", lambda own: own.believed_front(**asked), _PATIENCE_S
    )
    shown = {"found": found, "believed": believed, "newest": newest}
    return page(request, "front", {**told, **shown})


# Figures


@pages.get("/plots/campaigns/{campaign}/{which}.svg")
async def campaign_plot(request: Request, campaign: str, which: str) -> Response:
    """`learning`, a campaign's learning curve, or `predicted` against measured latencies."""

    def draw(own: Answering) -> bytes:
        from farm import pictures
        from farm.service.pictures import svg

        if which == "learning":
            curves = own.curves(campaign)
            return svg(lambda: pictures.learning(curves))
        if which == "predicted":
            summary = own.summary(campaign)
            return svg(lambda: pictures.predictions(summary))
        raise UnknownName("figure", which, ("learning", "predicted"))

    return _svg(await lanes(request).thorough.ask(draw))


@pages.get("/plots/devices/{device}/controls.svg")
async def device_plot(request: Request, device: str) -> Response:
    """A device's control chart."""

    def draw(own: Answering) -> bytes:
        from farm import pictures
        from farm.service.pictures import svg

        health = own.chart(device)
        if health is None:
            raise UsageError(f"{device} was never seen; `farm device show {device}` looks at it")
        return svg(lambda: pictures.chart(device, health))

    return _svg(await lanes(request).thorough.ask(draw))


@pages.get("/plots/front.svg")
async def front_plot(
    request: Request, device: str, space: str, data_set: str, predicted: bool = False
) -> Response:
    """Accuracy against latency."""

    def draw(own: Answering) -> bytes:
        from farm import pictures
        from farm.service.pictures import svg

        found = own.front(device, space, data_set)
        believed = own.believed_front(device, space, data_set) if predicted else ()
        return svg(lambda: pictures.front(found, next(iter(believed), None)))

    return _svg(await lanes(request).thorough.ask(draw))


def _svg(drawn: bytes) -> Response:
    # A picture's own styles, and nothing else of it, should somebody open it alone.
    policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
    return Response(drawn, media_type="image/svg+xml", headers={"content-security-policy": policy})
