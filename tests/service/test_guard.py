"""Who is let in, and what is not read."""

from __future__ import annotations

import json
import logging
import time
from contextlib import closing
from dataclasses import replace
from http.client import HTTPConnection

import pytest

from farm.core.errors import NotAllowed, UnknownName, UsageError
from farm.service.guard import MOST_BYTES, MOST_TARGET, Buckets, Who
from farm.service.logs import AsJson
from farm.store import Store
from tests.service.conftest import KEY, running

pytestmark = pytest.mark.slow


def refused(reply) -> tuple[int, str]:
    assert reply.json.keys() == {"error", "message"}
    return reply.status, reply.json["error"]


class TestTokens:
    def test_one_that_holds_lets_in_until_it_is_revoked(self, served):
        token = served.token("ann", "reader")
        assert served("/v1/devices", token=token).status == 200
        with Store(served.folder / "results") as store:
            store.revoke_token("ann")
        reply = served("/v1/devices", token=token)
        assert refused(reply) == (401, "NotSignedIn")
        assert "'ann' is revoked" in reply.json["message"]

    def test_none_and_wrong_and_expired_ones(self, served):
        for token in (None, "", "wrong", served.token("old", "admin", lasts_s=-1)):
            reply = served("/v1/devices", token=token)
            assert refused(reply) == (401, "NotSignedIn")
            assert reply.headers["WWW-Authenticate"] == "Bearer"

    def test_only_its_digest_is_stored(self, served):
        token = served.token("kept", "user")
        with Store(served.folder / "results") as store:
            assert store.token_of(token).name == "kept"
            assert token not in repr(store._rows("SELECT * FROM tokens"))
        assert not any(token.encode() in path.read_bytes() for path in served.folder.rglob("*.db*"))

    def test_bad_names_and_roles(self, tmp_path):
        with Store(tmp_path) as store:
            store.add_token("ann", "reader")
            for name in ("Ann", "", "a b", "a" * 65):
                with pytest.raises(UsageError, match="a token's name"):
                    store.add_token(name, "reader")
            with pytest.raises(UsageError, match="there is a token 'ann'"):
                store.add_token("ann", "reader")
            with pytest.raises(UnknownName, match="role"):
                store.add_token("bob", "root")
            with pytest.raises(UnknownName, match="token"):
                store.revoke_token("bob")
            assert [one.name for one in store.tokens()] == ["ann"]
            store.revoke_token("ann")
            store.add_token("ann", "user")
            assert [one.state for one in store.tokens()] == ["revoked", "valid"]

    def test_roles(self):
        Who("ann", "user").must_be("reader")
        with pytest.raises(NotAllowed, match="'ann' is of role user"):
            Who("ann", "user").must_be("admin")


def test_the_host_that_is_asked_for_is_ours(served):
    for host in ("farm.evil.example", "127.0.0.1.evil.example", "[::1", ""):
        assert refused(served("/v1/devices", Host=host)) == (403, "NotAllowed")
    for host in ("localhost:1", "127.0.0.1", "[::1]:80"):
        assert served("/v1/devices", Host=host).status == 200


class TestOrigin:
    """Of what changes something and may come from a browser."""

    def post(self, served, **headers):
        return served("/login", b"token=x", token=None, **headers)

    def test_pages_of_others_change_nothing(self, served):
        for origin in ("http://evil.example", "null", "http://127.0.0.1:1"):
            assert refused(self.post(served, Origin=origin)) == (403, "NotAllowed")
        assert refused(self.post(served)) == (403, "NotAllowed")
        for site in ("cross-site", "same-site"):
            reply = self.post(served, Origin=served.url, Sec_Fetch_Site=site)
            assert refused(reply) == (403, "NotAllowed")


def test_what_is_too_large_is_not_read(served):
    said = HTTPConnection(served.url.removeprefix("http://"), timeout=60)
    said.putrequest("POST", "/v1/predict")
    said.putheader("Authorization", f"Bearer {KEY}")
    said.putheader("Content-Length", str(MOST_BYTES + 1))
    said.endheaders()
    with closing(said):
        assert said.getresponse().status == 413
    assert refused(served("/v1/devices?" + "x" * MOST_TARGET)) == (413, "TooLarge")


def test_a_bucket_fills_with_time():
    now = [0.0]
    buckets = Buckets(per_s=2, burst=3, clock=lambda: now[0])
    assert [buckets.take("ann") for _ in range(4)] == [True, True, True, False]
    assert buckets.take("bob")
    now[0] = 0.5
    assert [buckets.take("ann") for _ in range(2)] == [True, False]


def test_guesses_are_slowed_down_and_who_has_a_token_is_not(served):
    with running(served.farm) as url:  # one that other tests do not ask
        own = replace(served, url=url)
        found = [own("/v1/devices", token=f"guess {i}").status for i in range(40)]
        assert set(found) == {401, 429}
        assert own("/login?key=guess", token=None).status == 429
        assert own("/login", token=None).status == 200
        assert own("/v1/devices").status == 200


def logged(caplog) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == "farm.service.requests"]


def test_logs_have_no_secrets(served, caplog):
    with caplog.at_level(logging.INFO, "farm.service.requests"):
        served("/v1/campaigns/c1?network=private", token="a secret guess")
        served("/v1/campaigns/c1?network=private")
        while len(records := logged(caplog)) < 2:  # a line follows its answer
            time.sleep(0.01)
    lines = [json.loads(AsJson().format(record)) for record in records]
    assert "secret" not in str(lines)
    assert "private" not in str(lines)
    (told,) = [line for line in lines if line["campaign"]]
    assert (told["who"], told["path"], told["status"]) == ("owner", "/v1/campaigns/c1", 200)
    assert len({line["request"] for line in lines}) == len(lines)


def test_answers_forbid_what_pages_do_not_need(served):
    headers = served("/v1/devices").headers
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "server" not in headers
