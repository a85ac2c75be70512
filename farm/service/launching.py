"""The pages that change something: launching a campaign, and ending one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import ValidationError

from farm.campaign.planning import Launch
from farm.core.errors import UsageError
from farm.service import api
from farm.service.asked import ToLaunch
from farm.service.pages import page
from farm.service.problems import first_of, status_of
from farm.spaces import SPACES

launching = APIRouter(include_in_schema=False)

_FIRST: dict[str, Any] = {
    **{"space": "nb201", "devices": [], "budget": 30, "holdout": 10, "seed": 0},
    "deadline": "",
}
"""What the form begins with."""


@launching.get("/launch")
async def form(request: Request) -> Response:
    return await _form(request, _FIRST)


@launching.post("/launch")
async def launch(request: Request) -> Response:
    """To the campaign's page, or back to the form with what is wrong."""
    sent = parse_qs((await request.body()).decode(errors="replace"))
    said = {**_FIRST, "devices": sent.get("devices", [])}
    said |= {name: sent[name][0] for name in _FIRST if name in sent and name != "devices"}
    try:
        name = await api.launched(request, _asked(said))
    except UsageError as e:
        return await _form(request, said, e)
    return RedirectResponse(f"/campaigns/{name}", 303)


@launching.post("/campaigns/{campaign}/cancel")
async def cancel(request: Request, campaign: str) -> Response:
    ended = await api.cancel(request, campaign)
    return RedirectResponse(f"/campaigns/{ended.campaign}", 303)


def _asked(said: dict[str, Any]) -> Launch:
    """Raises UsageError."""
    # A browser's field for a moment has no zone; the form says which is meant.
    by = f"{said['deadline']}+00:00" if said["deadline"] else None
    try:
        return Launch(**ToLaunch.model_validate({**said, "deadline": by}).model_dump())
    except ValidationError as e:
        raise UsageError(first_of(e.errors())) from None


async def _form(
    request: Request, said: dict[str, Any], wrong: UsageError | None = None
) -> Response:
    devices = await api.lanes(request).quick.ask(lambda own: list(own.farm.config.devices))
    told: dict[str, Any] = {"said": said, "devices": devices, "spaces": list(SPACES)}
    told["now"] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M")
    told["wrong"] = None if wrong is None else str(wrong)
    return page(request, "launch", told, 200 if wrong is None else status_of(wrong))
