"""The pages in a real browser: what it shows, asks for and complains of."""

from __future__ import annotations

import time
from importlib.resources import files
from urllib.parse import quote

import pytest

from farm.farm import Farm
from tests.conftest import FAKES
from tests.service.browser import browser
from tests.service.conftest import KEY, running
from tests.service.test_api import CELL
from tests.system import need

AXE = (files("axe_core_python") / "axe.min.js").read_text()
FOUND = "axe.run().then(r => r.violations.map(v => v.id + ': ' + v.nodes[0].html))"
PAGES = (
    *("/", "/campaigns/c1", "/devices/a", "/compare", "/correlation", "/launch", "/add-device"),
    *(f"/network?network={quote(CELL)}", "/front?device=a"),
)
DARK = [{"name": "prefers-color-scheme", "value": "dark"}]


@pytest.fixture(scope="module")
def page(served, tmp_path_factory):
    need(chromium="chromium")
    with browser(tmp_path_factory.mktemp("browser")) as own:
        own.open(f"{served.url}/login?key={quote(KEY)}")
        yield own


@pytest.mark.slow
def test_pages_fit_a_phone_and_can_be_used_by_everybody(served, page, published):
    published("nb201.npz")
    page.size(390, 800)
    for path in PAGES:
        page("Emulation.setEmulatedMedia", features=DARK if path != "/" else [])
        page.open(served.url + path)
        assert page.run("document.body.innerText").strip()
        assert page.run("document.documentElement.scrollWidth") <= 390, path
        asked = [one for one in page.asked if not one.startswith("data:")]  # a field's own icon
        assert all(one.startswith(served.url) for one in asked), (path, asked)
        assert page.complaints == [], path
        page.run(AXE)
        assert page.run(FOUND) == [], path


@pytest.mark.slow
def test_pages_show_without_scripts(served, page):
    page("Emulation.setScriptExecutionDisabled", value=True)
    for path in PAGES:
        page.open(served.url + path)
        assert page.run("typeof listen") == "undefined"  # nothing of ours ran
        assert page.run("document.querySelector('main').innerText.length") > 40, path
        shown = "[...document.images].map(one => one.complete && one.naturalWidth > 0)"
        assert all(page.run(shown)), path
    page("Emulation.setScriptExecutionDisabled", value=False)


@pytest.mark.slow
def test_a_network_is_asked_for_with_the_keyboard(served, page):
    page.size(1100, 800)
    page.open(f"{served.url}/network")
    page.run("document.getElementById('network').focus()")
    page("Input.insertText", text=CELL)
    page.events.clear()
    page("Input.dispatchKeyEvent", type="keyDown", key="Enter", code="Enter", text="\r")
    page.wait()
    shown = "[...document.querySelectorAll('tbody tr')].map(r => r.innerText)"
    until = time.monotonic() + 60  # the page looks again by itself, until it is known
    while not (rows := page.run(shown)):
        assert time.monotonic() < until
        time.sleep(0.2)
    assert [row.split()[0] for row in rows[:3]] == ["a", "b", "odd"]
    assert " to " in rows[0]


@pytest.mark.slow
def test_a_form_says_what_is_wrong_as_one_types(served, page):
    page.open(f"{served.url}/add-device")
    wrong = "[...document.querySelectorAll(':user-invalid')].map(one => one.id)"
    for text, said in (("nobody", ["host"]), ("me@pi", [])):
        page.run("document.getElementById('host').value = ''; host.focus()")
        page("Input.insertText", text=text)
        page.run("document.getElementById('key').focus()")
        assert page.run(wrong) == said


@pytest.mark.slow
def test_a_campaign_is_launched_and_seen_to_its_end_without_a_reload(page, tmp_path):
    (tmp_path / "cluster.yaml").write_text(FAKES)
    with running(Farm.open(tmp_path / "cluster.yaml")) as url:
        page.open(f"{url}/login?key={quote(KEY)}")
        page.open(f"{url}/launch")
        page.run("document.querySelector('[name=devices][value=a]').click()")
        page.run("document.querySelector('[name=budget]').value = 4")
        page.run("document.querySelector('[name=holdout]').value = 3")
        page.events.clear()
        page.run("document.querySelector('main form').requestSubmit()")
        page.wait()
        assert page.run("location.pathname") == "/campaigns/c1"
        page.run("window.same = 'the page that was opened'")
        deadline = time.monotonic() + 120
        wanted = ("It is done: 7 of 7", "a run ended: 7 measured, 0 failed", "a is free again (c1)")
        while not all(one in (shown := page.run("document.body.innerText")) for one in wanted):
            assert time.monotonic() < deadline, shown
            time.sleep(0.2)
        assert page.run("window.same") == "the page that was opened"
        assert [one for one in page.complaints if "500" in one or "Refused" in one] == []
