"""What a person looks at, as it is sent."""

from __future__ import annotations

import re
import time
from html.parser import HTMLParser
from urllib.parse import quote
from urllib.request import HTTPRedirectHandler, Request, build_opener

import pytest

from farm.service.guard import cookie_name
from tests.service.conftest import KEY
from tests.service.test_api import CELL

pytestmark = pytest.mark.slow

PAGES = {
    "/": "a, b",
    "/campaigns/c1": "18 of 18 networks of nb201 measured",
    "/devices/a": "Control networks",
    "/devices/odd": "It was never seen",
    f"/network?network={quote(CELL)}": 'id="answer"',
    "/network": "SPACE/CODE",
    "/compare": "Two campaigns are compared",
    "/compare?first=c1&second=c1": "18 same",
    "/correlation": 'id="alike"',
    "/front": "Accuracy on",
    "/add-device": "private key",
    "/login": "Token",
    "/launch": "Networks to learn from",
}


class Checked(HTMLParser):
    """Addresses that a page names, and whether its elements close."""

    def __init__(self, text):
        super().__init__()
        self.links, self.open = [], []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        if tag == "script":  # the only one, which nothing that is shown needs
            assert ("src", "/static/live.js") in attrs
        if tag not in ("meta", "link", "img", "input"):
            self.open.append(tag)
        self.links += [value for key, value in attrs if key in ("href", "src", "action")]
        assert not {key for key, _ in attrs if key.startswith("on") or key == "style"}

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize(("path", "words"), PAGES.items(), ids=lambda v: v[:12])
def test_a_page_says_what_it_is_for_and_names_no_other_host(served, path, words):
    reply = served(path)
    assert reply.status == 200
    assert reply.headers["Content-Type"].startswith("text/html")
    assert words in reply.text
    for link in Checked(reply.text).links:
        assert link.startswith(("/", "#"))
        assert not link.startswith("//")


@pytest.mark.parametrize(
    ("path", "words"),
    [(f"/network?network={quote(CELL)}", "HWL encoding"), ("/correlation", "Rank correlations")],
)
def test_what_has_to_be_computed_is_there_when_one_looks_again(served, path, words):
    until = time.monotonic() + 120
    while "data-unknown" in (reply := served(path)).text:
        assert words not in reply.text
        assert time.monotonic() < until
        time.sleep(0.2)
    assert words in reply.text


def test_every_link_leads_somewhere(served):
    links = {link.partition("#")[0] for path in PAGES for link in Checked(served(path).text).links}
    one_of_each = {link.partition("?")[0]: link for link in sorted(links - {"", "/logout"})}
    assert len(one_of_each) > 15
    for link in one_of_each.values():
        assert served(link).status == 200, link


def test_figures_are_pictures_with_text_in_the_readers_ink(served):
    for path in (
        "/plots/campaigns/c1/learning.svg",
        "/plots/campaigns/c1/predicted.svg",
        "/plots/devices/a/controls.svg",
    ):
        reply = served(path)
        assert reply.headers["Content-Type"] == "image/svg+xml"
        assert "var(--ink)" in reply.text
        assert "</text>" in reply.text
    assert served("/plots/campaigns/c1/other.svg").json["error"] == "UnknownName"
    assert "was never seen" in served("/plots/devices/odd/controls.svg").json["message"]


def test_what_there_is_not_is_said_on_a_page(served):
    for path in ("/campaigns/c9", "/devices/pi", "/nothing"):
        reply = served(path)
        assert reply.status == 404
        assert 'role="alert"' in reply.text
    wrong = served(f"/network?network={quote('<b>no</b>')}")
    assert wrong.status == 422
    assert "<b>" not in wrong.text


class TestSigningIn:
    @pytest.fixture
    def ask(self, served):
        """Asks like a browser that follows nothing: status, place to go to, cookie."""

        class Stay(HTTPRedirectHandler):
            def redirect_request(self, *_):
                return None

        def ask(path, data=None, **headers):
            said = {name.replace("_", "-"): value for name, value in headers.items()}
            opener = build_opener(Stay)
            opener.addheaders = []
            try:
                reply = opener.open(Request(served.url + path, data, said), timeout=60)
            except OSError as e:
                reply = e
            with reply:
                return reply.status, reply.headers["Location"], reply.headers["Set-Cookie"]

        return ask

    def test_who_is_unknown_is_led_to_the_form(self, ask):
        assert ask("/campaigns/c1") == (303, "/login", None)

    def test_the_form_and_the_owners_address_give_a_cookie(self, served, ask):
        form = ask("/login", f"token={quote(KEY)}".encode(), Origin=served.url)
        for status, place, cookie in (form, ask(f"/login?key={quote(KEY)}")):
            assert (status, place) == (303, "/")
            assert "HttpOnly" in cookie
            assert "SameSite=strict" in cookie
            assert ask("/", Cookie=cookie.partition(";")[0])[0] == 200

    def test_a_wrong_token_is_refused(self, served, ask):
        assert ask("/login", b"token=guess", Origin=served.url) == (401, None, None)
        assert ask("/", Cookie=f"{cookie_name({'server': ('', 1)})}=guess")[0] == 303

    def test_a_cookie_alone_changes_nothing_from_elsewhere(self, served, ask):
        cookie = ask(f"/login?key={quote(KEY)}")[2].partition(";")[0]
        assert ask("/logout", b"", Cookie=cookie, Origin="http://evil.example")[0] == 403
        status, place, gone = ask("/logout", b"", Cookie=cookie, Origin=served.url)
        assert (status, place) == (303, "/login")
        assert re.search("Max-Age=0", gone)


def test_accuracies_are_shown_against_what_was_measured(served, published):
    published("nb201.npz")
    asked = "device=a&space=nb201&data_set=cifar10"
    reply = served(f"/front?{asked}")
    assert (reply.status, "9 networks of nb201 were measured on a" in reply.text) == (200, True)
    cells = r'class="number">([\d.]+)</td><td class="number">([\d.]+)<'
    rows = re.findall(cells, reply.text.partition("<h2>")[0])
    latency, accuracy = zip(*[tuple(map(float, row)) for row in rows], strict=True)
    assert list(latency) == sorted(latency)
    assert list(accuracy) == sorted(accuracy)  # none beats another
    until = time.monotonic() + 120
    while "data-unknown" in reply.text:
        assert time.monotonic() < until
        time.sleep(0.2)
        reply = served(f"/front?{asked}")
    assert "Of all 15625 networks with an accuracy none beats these" in reply.text
    assert "<td>predicted</td>" in reply.text
    drawn = served(f"/plots/front.svg?{asked}&predicted=true")
    assert drawn.headers["Content-Type"] == "image/svg+xml"
    assert "front as predicted" in drawn.text
    for wrong, status in (
        ("device=pi", 404),
        ("device=a&data_set=x", 404),
        ("device=a&space=fbnet", 422),
    ):
        reply = served(f"/front?{wrong}")
        assert (reply.status, 'role="alert"' in reply.text) == (status, True)
