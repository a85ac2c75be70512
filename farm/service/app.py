"""The service as an ASGI application."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from farm.core.errors import FarmError, UnknownName
from farm.farm import Farm
from farm.opened import must_be_executor
from farm.service.adding import adding
from farm.service.api import Lanes, api
from farm.service.feed import Feed
from farm.service.guard import Guard
from farm.service.jobs import Jobs
from farm.service.lane import Lane
from farm.service.launching import launching
from farm.service.logs import ABOUT
from farm.service.memory import Front, Memory
from farm.service.metrics import Verdicts, metrics
from farm.service.pages import pages, problem_page
from farm.service.problems import Problem, first_of, for_people, problem, status_of
from farm.service.running import Running
from farm.service.standing_back import stand_back
from farm.store import Store

_QUICK, _THOROUGH = 200, 16
"""Questions that wait at a time."""

_NICE = 10
"""How far what is computed stands back for what measures and builds on this computer."""

_log = logging.getLogger("farm.service")


def service(
    farm: Farm,
    key: str | None = None,
    names: frozenset[str] | None = frozenset(),
    ended: Callable[[], None] = lambda: None,
    executor: str = "ray",
) -> Guard:
    """The application, with the store open. key: of the owner, who may do everything; by default
    one that nobody knows. names: hosts that it is called by, besides this computer's own; None for
    any. ended: called when it has answered its last question. executor: what carries the work of
    campaigns out."""
    must_be_executor(executor)
    running, jobs = Running(farm, executor), Jobs(farm)
    store = Store(farm.config.store)  # of the thread of the event loop
    memory = Memory()
    lanes = Lanes(Lane(farm, memory, _QUICK), Lane(farm, memory, _THOROUGH, _NICE))

    @asynccontextmanager
    async def living(_: FastAPI) -> AsyncIterator[None]:
        running.go_on(store)
        standing = asyncio.create_task(stand_back(store))
        yield
        standing.cancel()
        running.close()
        jobs.close()
        lanes.quick.close()
        lanes.thorough.close()
        store.__exit__()
        ended()

    app = FastAPI(
        title="Latency farm",
        version="1",
        description="What networks take on real devices: measured, or predicted with an interval.",
        lifespan=living,
        openapi_url="/v1/openapi.json",
        docs_url=None,  # they come from other hosts
        redoc_url=None,
    )
    app.state.lanes = lanes
    app.state.front = Front(farm, store, memory)
    app.state.running = running
    app.state.feed = feed = Feed(store)
    app.state.jobs = jobs
    app.state.verdicts = Verdicts()
    app.include_router(api)
    app.include_router(metrics)
    app.include_router(launching)
    app.include_router(adding)
    app.include_router(pages)
    app.add_exception_handler(FarmError, _farm_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unexpected)
    guard = Guard(app, store, key or secrets.token_urlsafe(32), names, feed.close)
    app.state.guard = guard
    return guard


def _said(status: int, told: Problem, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse(told.model_dump(), status, dict(headers or {}))


async def _farm_error(request: Request, e: Exception) -> Response:
    assert isinstance(e, FarmError)
    if _is_page(request):
        return problem_page(request, e)
    return _said(status_of(e), problem(e))


def _is_page(request: Request) -> bool:
    path = request.url.path
    return for_people(path) and not path.startswith(("/plots/", "/static/"))


async def _invalid(_: Request, e: Exception) -> JSONResponse:
    """What is wrong with a request: the first thing, and how many there are beside it."""
    assert isinstance(e, RequestValidationError)
    wrong = e.errors()
    more = f"; {len(wrong) - 1} more" if len(wrong) > 1 else ""
    return _said(422, Problem(error="UsageError", message=first_of(wrong) + more))


async def _http_error(request: Request, e: Exception) -> Response:
    assert isinstance(e, HTTPException)
    if e.status_code == 404 and _is_page(request):
        return problem_page(request, UnknownName("page", request.url.path, ("/",)))
    return _said(e.status_code, Problem(error="UsageError", message=str(e.detail)), e.headers)


async def _unexpected(request: Request, e: Exception) -> JSONResponse:
    """What is a mistake of ours is told to the log alone."""
    about = {"request": request.state.request, **request.path_params}
    told = {name: about[name] for name in ABOUT if name in about}
    _log.error("a fault of the service's own", exc_info=e, extra=told)
    return _said(
        500,
        Problem(
            error="FarmError",
            message=f"a fault of the service's own; its log "
            f"says more of request {request.state.request}",
        ),
    )
