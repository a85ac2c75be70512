"""The API: what programs ask, under /v1."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response, Security
from fastapi.security import HTTPBearer

from farm.campaign.asking import Ask
from farm.campaign.choices import told
from farm.campaign.compare import MARGIN
from farm.campaign.planning import Launch
from farm.prediction.prediction import Predictions
from farm.service import models, ordered
from farm.service.answering import Answering
from farm.service.asked import (
    ToEncode,
    ToLaunch,
    ToMeasure,
    ToPredict,
    ToResume,
    ToSearch,
    WaitS,
)
from farm.service.feed import Feed, Stream
from farm.service.jobs import Jobs
from farm.service.lane import Lane
from farm.service.memory import Front
from farm.service.problems import RESPONSES
from farm.service.searching import search_words
from farm.service.who import Who
from farm.store.tokens import USER


class Lanes:
    """quick: what is looked up. thorough: what has to be computed."""

    def __init__(self, quick: Lane, thorough: Lane) -> None:
        self.quick = quick
        self.thorough = thorough


def lanes(request: Request) -> Lanes:
    found: Lanes = request.app.state.lanes
    return found


_LOOKS_S = 0.1
"""How often a process that begins is looked at."""

# Who asks is looked at before (`farm.service.guard`); this says in the schema how.
api = APIRouter(
    prefix="/v1",
    responses=RESPONSES,  # type: ignore[arg-type]
    dependencies=[Security(HTTPBearer(auto_error=False))],
)

Network = Annotated[
    list[str],
    Query(min_length=1, max_length=100, description="SPACE/CODE, or a NAS-Bench-201 cell string."),
]


@api.get("/devices")
async def devices(request: Request) -> models.Devices:
    """The devices of the farm, and what they do at the moment."""
    found = await lanes(request).quick.ask(lambda own: own.devices())
    return models.Devices.model_validate({"devices": found})


@api.get("/devices/{device}")
async def device(request: Request, device: str) -> models.Device:
    """A device as it was seen last: facts, certificate, revisions, control networks."""
    found = await lanes(request).quick.ask(lambda own: own.device(device))
    return models.Device.model_validate(found)


@api.get("/campaigns")
async def campaigns(request: Request) -> models.Campaigns:
    """The campaigns of the store, oldest first."""
    found = await lanes(request).quick.ask(lambda own: own.campaigns())
    return models.Campaigns.model_validate({"campaigns": found})


@api.post("/campaigns", status_code=201)
async def launch(request: Request, asked: ToLaunch) -> models.Launched:
    """Launch a campaign, which the service runs. Takes the role `user`."""
    return models.Launched(campaign=await launched(request, Launch(**asked.model_dump())))


async def launched(request: Request, asked: Launch) -> str:
    """A new campaign that runs by now."""
    who: Who = request.state.who
    who.must_be(USER)
    name = await lanes(request).thorough.ask(lambda own: ordered.launch(own, asked, who.name))
    request.app.state.running.begin(name, who.name)
    return name


@api.post("/campaigns/{campaign}/cancel")
async def cancel(request: Request, campaign: str) -> models.Launched:
    """End a campaign. One's own takes the role `user`, others' `admin`."""
    who: Who = request.state.who
    who.must_be(USER)
    quick = lanes(request).quick
    name, begun = await quick.ask(lambda own: ordered.cancel(own, campaign, who))
    if not begun:
        # A process that begins takes the wish for one of before, and forgets it.
        await asyncio.to_thread(request.app.state.running.end, name)
        await quick.ask(lambda own: ordered.cancel(own, name, who))
    return models.Launched(campaign=name)


@api.post("/campaigns/{campaign}/resume")
async def resume(request: Request, campaign: str, asked: ToResume) -> models.Launched:
    """Go on with a campaign that ended early, or measure some of it again; it is answered once a
    process runs it. One's own takes the role `user`, others' `admin`."""
    who: Who = request.state.who
    who.must_be(USER)
    quick, running = lanes(request).quick, request.app.state.running
    name = await quick.ask(lambda own: ordered.resume(own, campaign, asked.again, who))
    running.begin(name, who.name, asked.again)
    while running.at_work(name) and not await quick.ask(lambda own: own.stored(name).run_by):
        await asyncio.sleep(_LOOKS_S)
    return models.Launched(campaign=name)


@api.get("/campaigns/{campaign}")
async def campaign(request: Request, campaign: str) -> models.Campaign:
    """What a campaign came to so far."""
    found = await lanes(request).thorough.ask(lambda own: own.summary(campaign).to_json())
    return models.Campaign.model_validate(found)


@api.get("/campaigns/{campaign}/choices")
async def choices(request: Request, campaign: str) -> models.Choices:
    """The networks that a campaign chose to learn from, in order, and why."""
    found = await lanes(request).thorough.ask(lambda own: told(own.store, campaign))
    return models.Choices.model_validate(found)


@api.get("/compare")
async def compare(
    request: Request,
    first: str,
    second: str,
    margin: Annotated[float, Query(description="Relative difference that is none.")] = MARGIN,
    as_measured: bool = False,
) -> models.Compared:
    """Which networks became faster or slower from one campaign to another."""
    found = await lanes(request).thorough.ask(
        lambda own: own.comparison(first, second, margin, as_measured).to_json()
    )
    return models.Compared.model_validate(found)


@api.get("/network", response_model_exclude_unset=True)
async def network(
    request: Request,
    network: Annotated[str, Query(description="SPACE/CODE, or a NAS-Bench-201 cell string.")],
    explain: bool = False,
) -> models.NetworkEverywhere:
    """A network's latency on every device, measured or predicted."""
    found = await lanes(request).thorough.ask(lambda own: own.network(network, explain))
    return models.NetworkEverywhere.model_validate(found)


@api.get("/predict", response_model=models.Predicted)
async def predict(
    request: Request, device: str, network: Network, explain: bool = False
) -> Response:
    """What a few networks take on a device. One without an answer says why in its row."""
    asked = ToPredict(device=device, networks=network, explain=explain)
    return await predict_many(request, asked)


@api.post("/predict", response_model=models.Predicted)
async def predict_many(request: Request, asked: ToPredict) -> Response:
    """What networks take on a device. One without an answer says why in its row."""

    question = tuple(asked.networks), asked.device, asked.explain
    front: Front = request.app.state.front
    both = lanes(request)
    if asked.measure != Ask().measure:
        words = ["predict", "-", f"--device={asked.device}", *["--explain"] * asked.explain]
        told = await _measured(request, asked, words, lambda own: own.known(*question).to_json())
        return Response(_text(told), media_type="application/json")
    found = front.recall(question)
    if found is None:
        found = await both.quick.ask(lambda own: own.told(question, _encoded, at_hand=True))
    if found is None:
        found = await both.thorough.ask(lambda own: own.told(question, _encoded))
    return Response(found, media_type="application/json")


def _encoded(found: Predictions) -> bytes:
    return _text(found.to_json())


def _text(found: Mapping[str, Any]) -> bytes:
    return models.Predicted.model_validate(found).model_dump_json(exclude_unset=True).encode()


@api.get("/hwl", response_model_exclude_unset=True)
async def hwl(request: Request, network: Network) -> models.Encodings:
    """The HWL encodings of a few networks."""
    return await hwl_many(request, ToEncode(networks=network))


@api.post("/hwl", response_model_exclude_unset=True)
async def hwl_many(request: Request, asked: ToEncode) -> models.Encodings:
    """The HWL encodings of networks. One without an encoding says why in its row."""
    if asked.measure != Ask().measure:
        told = await _measured(
            request,
            asked,
            ["hwl", "-"],
            lambda own: {"networks": list(own.encodings(asked.networks).lines())},
        )
        return models.Encodings.model_validate(told)
    found = await lanes(request).thorough.ask(lambda own: list(own.hwl(asked.networks).lines()))
    return models.Encodings.model_validate({"networks": found})


@api.post("/search", response_model_exclude_unset=True)
async def search(request: Request, asked: ToSearch) -> models.Answered:
    """Find the best networks on devices, by a job that measures. Takes the role `user`."""
    who: Who = request.state.who
    who.must_be(USER)
    await lanes(request).quick.ask(lambda own: own.must_have(asked.devices))
    jobs: Jobs = request.app.state.jobs
    words = [*search_words(asked), f"--executor={request.app.state.running.executor}"]
    job = jobs.begin(words, [], who)
    await jobs.wait(job, asked.wait_s)
    return models.Answered.model_validate(job.to_json())


Number = Annotated[int | None, Query(ge=0, lt=2**63, description="The last event that is known.")]


@api.get("/events", responses=Stream.SCHEMA)
async def events(
    request: Request,
    campaign: Annotated[str | None, Query(description="Its events, and its devices'.")] = None,
    device: str | None = None,
    after: Number = None,
    wait: Annotated[bool, Query(description="Go on with what happens.")] = True,
    last_event_id: Annotated[int | None, Header(ge=0, lt=2**63)] = None,
) -> Stream:
    """What happens, as server-sent events, each a JSON object: `id`, `at`, `kind`, `campaign`,
    `device`, `network`, `said`, `sentence`. It begins after event `after` or `Last-Event-ID`; else
    with the last run of the campaign, or with what comes next."""
    feed: Feed = request.app.state.feed
    known = after if last_event_id is None else last_event_id
    about, last = await lanes(request).quick.ask(lambda own: own.about(campaign, device, known))
    if wait:
        feed.must_have_room()
    return Stream(feed, about, last, wait)


async def _measured(
    request: Request,
    asked: ToMeasure,
    words: Sequence[str],
    known: Callable[[Answering], dict[str, Any]],
) -> dict[str, Any]:
    """What is known, or what was measured by the time, and the job that measures."""
    who: Who = request.state.who
    who.must_be(USER)
    Ask(measure=asked.measure, max_error=asked.max_error)  # raises what is wrong with them
    at_once = await lanes(request).thorough.ask(known)
    jobs: Jobs = request.app.state.jobs
    told = [*words, f"--measure={asked.measure}", "--json"]
    told += [] if asked.max_error is None else [f"--max-error={asked.max_error!r}"]
    job = jobs.begin(told, asked.networks, who)
    await jobs.wait(job, asked.wait_s)
    said = job.to_json()
    answer = said.pop("answer") or at_once
    return {**answer, "job": said}


@api.get("/jobs/{job}", response_model_exclude_unset=True)
async def job(request: Request, job: str, wait_s: WaitS = 0.0) -> models.Answered:
    """A question that measures; wait_s: for how long it is waited for."""
    jobs: Jobs = request.app.state.jobs
    found = jobs.job(job)
    await jobs.wait(found, wait_s)
    return models.Answered.model_validate(found.to_json())


@api.post("/jobs/{job}/cancel", response_model_exclude_unset=True)
async def cancel_job(request: Request, job: str) -> models.Answered:
    """End a question that measures: one's own; others' take the role `admin`."""
    jobs: Jobs = request.app.state.jobs
    ended = jobs.end(job, request.state.who)
    await jobs.wait(ended, 60)
    return models.Answered.model_validate(ended.to_json())


@api.get("/queue")
async def queue(request: Request) -> models.Queue:
    """Who holds devices and cores, and who waits for them, in turn."""
    found = await lanes(request).quick.ask(lambda own: own.queue())
    return models.Queue.model_validate({"claims": found})
