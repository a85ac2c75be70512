"""The pages in a real browser: what it shows, asks for and complains of."""

from __future__ import annotations

from importlib.resources import files
from urllib.parse import quote

import pytest

from tests.service.browser import browser
from tests.service.conftest import KEY
from tests.service.test_api import CELL
from tests.system import need

AXE = (files("axe_core_python") / "axe.min.js").read_text()
FOUND = "axe.run().then(r => r.violations.map(v => v.id + ': ' + v.nodes[0].html))"
PAGES = (
    *("/", "/campaigns/c1", "/devices/a", "/compare", "/correlation", "/launch"),
    f"/network?network={quote(CELL)}",
)
DARK = [{"name": "prefers-color-scheme", "value": "dark"}]


@pytest.fixture(scope="module")
def page(served, tmp_path_factory):
    need(chromium="chromium")
    with browser(tmp_path_factory.mktemp("browser")) as own:
        own.open(f"{served.url}/login?key={quote(KEY)}")
        yield own


@pytest.mark.slow
def test_pages_fit_a_phone_and_can_be_used_by_everybody(served, page):
    page.size(390, 800)
    for path in PAGES:
        page("Emulation.setEmulatedMedia", features=DARK if path != "/" else [])
        page.open(served.url + path)
        assert page.run("document.body.innerText").strip()
        assert page.run("document.documentElement.scrollWidth") <= 390, path
        assert all(asked.startswith(served.url) for asked in page.asked), path
        assert page.complaints == [], path
        page.run(AXE)
        assert page.run(FOUND) == [], path


@pytest.mark.slow
def test_a_network_is_asked_for_with_the_keyboard(served, page):
    page.size(1100, 800)
    page.open(f"{served.url}/network")
    page.run("document.getElementById('network').focus()")
    page("Input.insertText", text=CELL)
    page.events.clear()
    page("Input.dispatchKeyEvent", type="keyDown", key="Enter", code="Enter", text="\r")
    page.wait()
    rows = page.run("[...document.querySelectorAll('tbody tr')].map(r => r.innerText)")
    assert [row.split()[0] for row in rows[:3]] == ["a", "b", "odd"]
    assert " to " in rows[0]
