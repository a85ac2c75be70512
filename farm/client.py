"""The farm as a Python object, asked of a service (`farm serve`) that runs elsewhere.

from farm import Client

found = Client("http://farm:8765", token).predict(networks, "cpu1")
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from http.client import HTTPException
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, Request, build_opener

from farm.core import errors
from farm.core.checks import plain
from farm.core.errors import FarmError, ServiceError, UnknownName, UsageError
from farm.remote_values import RemoteEncoding, RemoteRow, encoding, events, parted, predicted

if TYPE_CHECKING:
    from farm.campaign.following import Ending
    from farm.campaign.planning import Launch
    from farm.prediction.batch import Answers
    from farm.prediction.prediction import Predictions
    from farm.search.found import Found
    from farm.search.setting import Search
    from farm.store.events import Event

_WAIT_S = 20
"""For how long a service is let wait for what it measures before it is asked again."""

_TELL_S = 5
"""The same where somebody wants to see how far it is."""

_PROBLEM_BYTES = 100_000
"""Of an answer that is an error, so much is read."""

_ATTEMPTS, _BACK_OFF_S = 6, 0.5
"""How often in a row a stream that is cut is taken up again; the pause doubles each time."""


class _Silent(ServiceError):
    """Nothing answers, or no more."""


@dataclass(frozen=True)
class Client:
    """A service's address and a token. Methods raise what `farm.core.errors` draws, the service's
    own errors as what they are there.

    timeout_s: how long an answer is waited for.
    """

    url: str
    token: str = field(repr=False)
    timeout_s: float = 300.0

    def __post_init__(self) -> None:
        told = urlsplit(self.url)
        if told.scheme not in ("http", "https") or not told.netloc or told.path.strip("/"):
            raise UsageError(
                f"a service's address is such as http://127.0.0.1:8765, got {plain(self.url)!r}"
            )
        if not self.token.isascii() or not self.token.isprintable() or " " in self.token:
            raise UsageError(
                "a token is one word, as `farm token create NAME` prints it; this one is not"
            )

    def predict(
        self,
        networks: Sequence[str],
        device: str,
        *,
        measure: str = "never",
        max_error: float | None = None,
        explain: bool = False,
        strict: bool = True,
    ) -> Predictions:
        """What networks take on a device, as `Farm.predict`. measure, max_error: what may be
        measured for it, see `Ask`; that takes a token of role `user`, and is waited for."""
        from farm.prediction.batch import Answers
        from farm.prediction.prediction import Predictions

        asked = {"device": device, "networks": _several(networks), "explain": explain}
        said = self._answered("/v1/predict", asked, measure, max_error)
        wrong, rows = parted(said["networks"])
        answers = Answers(
            tuple(networks), {row: predicted(one) for row, one in rows.items()}, wrong
        )
        if strict:
            answers.must_have_all()
        return Predictions(said["device"], answers, said["learnt"], said["kernels"])

    def hwl(
        self, networks: Sequence[str], *, measure: str = "never", max_error: float | None = None
    ) -> RemoteEncoding:
        """The HWL encodings of networks, as arrays; measure, max_error: as of `predict`. Raises
        UsageError for whatever is wrong with any network."""
        found = self.hwl_each(networks, measure=measure, max_error=max_error)
        found.must_have_all()
        return encoding(tuple(one.row for one in found))

    def hwl_each(
        self, networks: Sequence[str], *, measure: str = "never", max_error: float | None = None
    ) -> Answers[RemoteRow]:
        """The same, as far as there are any, one after the other; one that has none says why, in
        its row. Raises UsageError where none has one."""
        from farm.prediction.batch import Answers

        asked = {"networks": _several(networks)}
        said = self._answered("/v1/hwl", asked, measure, max_error)
        wrong, rows = parted(said["networks"])
        return Answers(tuple(networks), {i: RemoteRow(row) for i, row in rows.items()}, wrong)

    def network(self, network: str, *, explain: bool = False) -> list[dict[str, Any]]:
        """A network's latency on every device, or `error`: why there is none."""
        path = f"/v1/network?network={quote(network, safe='')}&explain={str(explain).lower()}"
        found: list[dict[str, Any]] = self._ask(path)["devices"]
        return found

    def devices(self) -> list[dict[str, Any]]:
        """The devices of the farm, and what they do at the moment."""
        found: list[dict[str, Any]] = self._ask("/v1/devices")["devices"]
        return found

    def device(self, name: str) -> dict[str, Any]:
        """A device as it was seen last. Raises UnknownName."""
        return self._ask(f"/v1/devices/{quote(name, safe='')}")

    def campaigns(self) -> list[dict[str, Any]]:
        """The campaigns, oldest first."""
        found: list[dict[str, Any]] = self._ask("/v1/campaigns")["campaigns"]
        return found

    def campaign(self, name: str = "latest") -> dict[str, Any]:
        """What a campaign came to, as `farm campaign show --json`. Raises UnknownName."""
        return self._ask(f"/v1/campaigns/{quote(name, safe='')}")

    def choices(self, campaign: str = "latest") -> list[dict[str, Any]]:
        """The networks that a campaign chose to learn from, in order, and why. Raises
        UnknownName."""
        asked = f"/v1/campaigns/{quote(campaign, safe='')}/choices"
        found: list[dict[str, Any]] = self._ask(asked)["choices"]
        return found

    def launch(self, launch: Launch) -> str:
        """Launch a campaign, which the service runs; its name, at once. Takes a token of role
        `user`. Raises UsageError."""
        said = _said(launch)
        if of_files := sorted(said.keys() & {"shape", "batch", "strict"}):
            raise UsageError(
                f"the service reads no files, which {of_files[0]!r} is about; leave it out, or "
                "launch the campaign where the files are"
            )
        return str(self._ask("/v1/campaigns", said)["campaign"])

    def cancel(self, campaign: str) -> str:
        """Ask a campaign to end; its name. One's own takes the role `user`, others' `admin`."""
        return str(self._ask(f"/v1/campaigns/{quote(campaign, safe='')}/cancel", {})["campaign"])

    def resume(self, campaign: str, again: Sequence[str] = ()) -> str:
        """Let the service go on with a campaign; its name, once it runs. again: see `Farm.resume`.
        One's own takes the role `user`, others' `admin`."""
        path = f"/v1/campaigns/{quote(campaign, safe='')}/resume"
        return str(self._ask(path, {"again": list(again)})["campaign"])

    def compare(
        self, first: str, second: str, *, margin: float = 0.02, as_measured: bool = False
    ) -> dict[str, Any]:
        """Which networks became faster or slower from one campaign to another, as `farm compare
        --json`. Raises UnknownName and UsageError."""
        asked = {"first": first, "second": second, "margin": margin, "as_measured": as_measured}
        return self._ask(f"/v1/compare?{urlencode(asked)}")

    def search(
        self, search: Search, watch: Callable[[Mapping[str, Any]], None] = lambda _: None
    ) -> Found:
        """The best networks on some devices, as `Farm.search`, by a job of the service. watch: told
        of the job now and then. Takes a token of role `user`. Raises UsageError."""
        from farm.search.found import Found

        said = _said(search)
        if not isinstance(search.accuracy, str):
            raise UsageError(
                "a function stays on this computer: name a published table, as table:FILE.npz, or "
                "proxy:NAME"
            )
        job = self._ended(self._ask("/v1/search", {**said, "wait_s": _TELL_S}), _TELL_S, watch)
        return Found.of_json(job["answer"])

    def queue(self) -> list[dict[str, Any]]:
        """Who holds devices and cores, and who waits for them, in turn."""
        found: list[dict[str, Any]] = self._ask("/v1/queue")["claims"]
        return found

    def events(
        self, campaign: str | None = None, device: str | None = None, after: int | None = None
    ) -> Iterator[Event]:
        """What happens, as `Farm.events`. A stream that is cut goes on after the last event."""
        from farm.campaign.following import Ending, ended

        name = campaign and self._campaign(campaign)["id"]
        given = {"campaign": name, "device": device}
        asked, ending, failed = {k: v for k, v in given.items() if v is not None}, Ending(), 0
        while True:
            known = {} if after is None else {"after": after}
            try:
                with self._reply(f"/v1/events?{urlencode(asked | known)}") as reply:
                    for event in events(reply):
                        failed = 0
                        if event is not None:
                            after = event.id
                            yield event
                        if event is not None and ended(event, name):
                            return
                        if event is None and name and self._is_over(ending, name):
                            return
            except _Silent:
                failed += 1
                if failed == _ATTEMPTS:
                    raise
            time.sleep(_BACK_OFF_S * 2**failed)

    def _is_over(self, ending: Ending, campaign: str) -> bool:
        now = self._campaign(campaign)
        return ending.is_over(now["state"], now["run_by"] is not None)

    def _campaign(self, name: str) -> dict[str, Any]:
        """A campaign as the list of them has it. Raises UnknownName."""
        found = {one["id"]: one for one in self.campaigns()}
        if name == "latest" and found:
            return list(found.values())[-1]
        if name not in found:
            raise UnknownName("campaign", name, found)
        return found[name]

    def _answered(
        self, path: str, asked: Mapping[str, Any], measure: str, max_error: float | None
    ) -> dict[str, Any]:
        """The answer to a question, once all is measured that is to be."""
        if measure != "never" or max_error is not None:
            asked = {**asked, "measure": measure, "max_error": max_error, "wait_s": _WAIT_S}
        said = self._ask(path, asked)
        if "job" not in said:
            return said
        return self._ended(said["job"], _WAIT_S).get("answer") or said

    def _ended(
        self,
        job: dict[str, Any],
        wait_s: float,
        watch: Callable[[Mapping[str, Any]], None] = lambda _: None,
    ) -> dict[str, Any]:
        """A job once it is done. Raises what it failed with."""
        while job["state"] == "running":
            watch(job)
            job = self._ask(f"/v1/jobs/{job['job']}?wait_s={wait_s}")
        if job["state"] != "done":
            raise _told(job["error"], job["message"] or "it ended before it had an answer")
        return job

    def _ask(self, path: str, data: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """An answer, which is an object; data: what is sent by POST."""
        with self._reply(path, data) as reply:
            try:
                said = json.load(reply)
            except ValueError:
                raise ServiceError(_no_farm(self.url)) from None
        if not isinstance(said, dict):
            raise ServiceError(_no_farm(self.url))
        return said

    @contextmanager
    def _reply(self, path: str, data: Mapping[str, Any] | None = None) -> Iterator[Any]:
        """An answer that is still to be read. Raises what the service told, and ServiceError."""
        headers = {"authorization": f"Bearer {self.token}", "content-type": "application/json"}
        body = None if data is None else json.dumps(data).encode()
        request = Request(self.url.rstrip("/") + path, body, headers)
        try:
            with _opener().open(request, timeout=self.timeout_s) as reply:
                yield reply
        except HTTPError as e:
            with e:
                raise _problem(self.url, e) from None
        except (OSError, HTTPException) as e:
            reason = e.reason if isinstance(e, URLError) else e
            raise _Silent(
                f"{self.url} does not answer: {plain(str(reason))}; `farm serve` starts a service"
            ) from e


class _Stay(HTTPRedirectHandler):
    """A token is shown to nobody but the service: no redirect is followed."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _opener() -> OpenerDirector:
    return build_opener(_Stay)


def _no_farm(url: str) -> str:
    return f"what answers at {url} is no farm's service; `farm serve` says its address"


def _problem(url: str, reply: HTTPError) -> FarmError:
    """The error that a service told, of its own kind."""
    try:
        told = json.loads(reply.read(_PROBLEM_BYTES))
        found = _told(told["error"], told["message"])
    except (ValueError, KeyError, TypeError, OSError, HTTPException):
        return ServiceError(f"{_no_farm(url)} (status {reply.code})")
    if _is_older(told, reply.code):
        return ServiceError(
            f"the farm at {url} is of an earlier version, which does not know what was asked "
            f"({found}); update it, or ask for less"
        )
    return found


def _told(kind: str, message: str) -> FarmError:
    """Raises KeyError for what is no kind of error."""
    # Some kinds make their message of what they are given; this one is made already.
    return _KINDS[kind].__new__(_KINDS[kind], plain(message))


def _is_older(told: Mapping[str, Any], status: int) -> bool:
    """Whether a service knows less than this client: the page, or a word of what was sent."""
    unknown = status in (404, 405) and told["error"] == UsageError.__name__
    return unknown or (status == 422 and "Extra inputs are not permitted" in told["message"])


_KINDS = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, FarmError)
}


def _said(asked: Launch | Search) -> dict[str, Any]:
    """What somebody asks for, without what is so anyway: an earlier service knows fewer words."""
    default = {one.name: one.default for one in fields(asked)}
    return {name: value for name, value in asdict(asked).items() if value != default[name]}


def _several(networks: Sequence[str]) -> list[str]:
    """Raises UsageError for a single one, whose letters would be taken for networks."""
    if isinstance(networks, str):
        raise UsageError(
            f"networks are a list, got the text {plain(networks)[:80]!r}; put it in []"
        )
    return list(networks)
