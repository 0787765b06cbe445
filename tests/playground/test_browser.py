"""The page in headless Chromium, driven as people use it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from metacortex.estimators.source import default_source
from metacortex.playground.server import Playground, serving

from .play_support import symbol

webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(not CHROMIUM or not DRIVER, reason="needs Chromium and chromedriver on the path"),
]

ROOF = [(0.15, 0.75), (0.5, 0.2), (0.85, 0.75)]
SLASHES = [[(0.2, 0.2), (0.8, 0.8)], [(0.8, 0.2), (0.2, 0.8)]]
PATIENCE = 60.0


class Page:
    """One browser with one profile; tabs of it share the visitor."""

    def __init__(self, address: str) -> None:
        from selenium.webdriver.chrome.options import Options
        from selenium.webdriver.chrome.service import Service

        options = Options()
        options.binary_location = CHROMIUM or ""
        for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                     "--window-size=1200,1000", "--disable-background-networking", "--disable-extensions",
                     "--disable-quic", "--disable-component-update", "--disable-sync", "--no-first-run"):  # fmt: skip
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver: Any = webdriver.Chrome(options=options, service=Service(DRIVER))
        self.address = address

    def open(self, path: str = "/") -> None:
        self.driver.get(self.address + path)
        self.until(lambda: self.script("return document.documentElement.dataset.ready"))

    def script(self, text: str, *values: Any) -> Any:
        return self.driver.execute_script(text, *values)

    def find(self, name: str) -> Any:
        return self.driver.find_element("id", name)

    def text(self, name: str) -> str:
        return self.script("return document.getElementById(arguments[0]).textContent", name)

    def classes(self) -> list[str]:
        return self.script("return [...document.querySelectorAll('.class > input')].map((e) => e.value)")

    def thumbs(self) -> int:
        return self.script(
            "return [...document.querySelectorAll('.thumb img')].filter((e) => e.naturalWidth > 0).length"
        )

    def until(self, true: Callable[[], Any]) -> Any:
        end = time.monotonic() + PATIENCE
        while True:
            found = true()
            if found or time.monotonic() > end:
                assert found, "the page did not get there"
                return found
            time.sleep(0.05)

    def press(self, name: str) -> None:
        element = self.find(name)
        self.script("arguments[0].scrollIntoView({block: 'center'})", element)
        self.until(element.is_enabled)
        element.click()

    def draw(self, pad: str, *strokes: list[tuple[float, float]]) -> None:
        from selenium.webdriver import ActionChains

        canvas = self.find(pad)
        self.script("arguments[0].scrollIntoView({block: 'center'})", canvas)
        side = canvas.rect["width"]
        for stroke in strokes:
            (first, *rest), pen = [(int((x - 0.5) * side), int((y - 0.5) * side)) for x, y in stroke], None
            pen = ActionChains(self.driver, duration=20).move_to_element_with_offset(canvas, *first).click_and_hold()
            for point in rest:
                pen = pen.move_to_element_with_offset(canvas, *point)
            pen.release().perform()

    def teach(self, name: str, *strokes: list[tuple[float, float]]) -> None:
        before = self.thumbs()
        self.draw("teach-pad", *strokes)
        self.find("new-name").send_keys(name)
        self.press("teach")
        self.until(lambda: self.thumbs() == before + 1)

    def complaints(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with serving(Playground(default_source())) as address:
        found = Page(address)
        yield found
        found.driver.quit()


@pytest.fixture
def fresh(page: Page) -> Iterator[Page]:
    """A visitor who was never here; no error in the browser's log afterwards."""
    page.driver.get(page.address + "/icon.svg")
    page.driver.delete_all_cookies()
    page.open()
    page.complaints()
    yield page
    assert page.complaints() == []


def test_drawing_with_the_pointer_and_reloading(fresh: Page) -> None:
    assert "two classes" in fresh.text("ask-hint").lower()
    fresh.teach("roof", ROOF)
    fresh.teach("cross", *SLASHES)
    assert fresh.classes() == ["roof", "cross"]
    assert "Learned from 2 drawings" in fresh.text("learned")
    fresh.draw("ask-pad", *[[(x + 0.04, 0.9 * y) for x, y in stroke] for stroke in SLASHES])
    fresh.until(lambda: fresh.text("verdict").startswith("cross"))  # nothing was pressed
    fresh.until(lambda: fresh.script("return document.querySelectorAll('.stepcol').length") == 2)
    fresh.until(lambda: "says" in fresh.text("rival-note"))
    assert fresh.script("return document.querySelectorAll('#influence li').length") == 2
    assert fresh.script("return document.getElementById('status').textContent").startswith("cross")
    # One more stroke, taken back.
    fresh.draw("teach-pad", ROOF)
    fresh.press("undo")
    assert not fresh.find("teach").is_enabled()
    assert fresh.classes() == ["roof", "cross"]
    fresh.open()
    fresh.until(lambda: fresh.thumbs() == 2)
    assert fresh.classes() == ["roof", "cross"]
    fresh.until(lambda: fresh.text("verdict").startswith("cross"))
    fresh.press("undo")  # now it is the last change
    fresh.until(lambda: fresh.thumbs() == 1)


def test_two_tabs_at_once(fresh: Page) -> None:
    first = fresh.driver.current_window_handle
    fresh.teach("roof", ROOF)
    fresh.driver.switch_to.new_window("tab")
    fresh.open()
    assert fresh.classes() == ["roof"]
    fresh.teach("cross", *SLASHES)
    fresh.driver.switch_to.window(first)
    fresh.until(lambda: fresh.classes() == ["roof", "cross"])  # without reloading
    fresh.press("start-over")
    fresh.until(lambda: fresh.classes() == [])
    fresh.driver.switch_to.window(next(w for w in fresh.driver.window_handles if w != first))
    fresh.until(lambda: fresh.classes() == [])
    fresh.driver.close()
    fresh.driver.switch_to.window(first)


def test_uploading_photographs(fresh: Page, tmp_path: Path) -> None:
    names = ("ring", "ladder")
    for name in names:
        for hand in (0, 1, 9):
            symbol(name, hand).convert("RGB").resize((900, 900)).save(tmp_path / f"{name}{hand}.jpg")
    for number, name in enumerate(names, start=1):
        fresh.find("new-name").send_keys(name)
        fresh.find("teach-file").send_keys("\n".join(str(tmp_path / f"{name}{hand}.jpg") for hand in (0, 1)))
        fresh.until(lambda number=number: fresh.thumbs() == 2 * number)
    fresh.find("ask-file").send_keys(str(tmp_path / "ladder9.jpg"))
    fresh.until(lambda: fresh.text("verdict").startswith("ladder"))
    (tmp_path / "note.png").write_text("no picture")
    fresh.find("ask-file").send_keys(str(tmp_path / "note.png"))
    fresh.until(lambda: "not an image" in fresh.text("error"))
    assert any("415" in line for line in fresh.complaints())  # the refusal, as the browser logs it


def test_letters_skills_and_keys(fresh: Page) -> None:
    from selenium.webdriver.common.keys import Keys

    fresh.press("load-alphabet")
    fresh.until(lambda: fresh.thumbs() == 5)
    fresh.press("ask-example")
    fresh.until(lambda: fresh.find("answer").is_displayed())
    fresh.find("skill-name").send_keys("letters <b>", Keys.ENTER)
    fresh.until(lambda: "letters <b>" in fresh.text("skills"))
    # A drawing made with the keyboard alone.
    pad = fresh.find("teach-pad")
    pad.send_keys(" ", *[Keys.ARROW_RIGHT] * 8, *[Keys.ARROW_DOWN] * 8, " ")
    fresh.find("teach").send_keys(Keys.ENTER)
    fresh.until(lambda: fresh.thumbs() == 6)
    fresh.press(fresh.script("return document.querySelector('[id^=use-]').id"))
    fresh.until(lambda: fresh.thumbs() == 5)
    # Every control can be reached and has a name.
    nameless = fresh.script(
        """return [...document.querySelectorAll('button, input, select, canvas, a')].filter((e) => e.checkVisibility()
           && !(e.textContent.trim() || e.getAttribute('aria-label') || e.labels?.length || e.title))
           .map((e) => e.outerHTML)"""
    )
    assert nameless == []


def test_functions_and_small_screens(fresh: Page) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    fresh.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    )
    try:
        assert fresh.script("return document.documentElement.scrollWidth") <= 360
        fresh.find("tab-symbols").send_keys(Keys.ARROW_RIGHT)
        plot = fresh.until(lambda: fresh.find("plot").is_displayed() and fresh.find("plot"))
        fresh.until(lambda: "No points yet" in fresh.text("wave-text"))
        for x, y in ((-60, 30), (70, -40)):
            ActionChains(fresh.driver, duration=20).move_to_element_with_offset(plot, x, y).click().perform()
        plot.send_keys(Keys.ARROW_UP, Keys.ENTER)
        fresh.until(lambda: fresh.text("wave-text").startswith("3 points, 10 steps"))
        assert fresh.script("return document.documentElement.scrollWidth") <= 360
        fresh.until(lambda: "400 steps" in fresh.text("wave-rival"))
        fresh.open("/#function")
        fresh.until(lambda: fresh.text("wave-text").startswith("3 points"))
        fresh.press("wave-clear")
        fresh.script("location.hash = '#symbols'")  # as the button that goes back does
        fresh.until(lambda: fresh.find("teach-pad").is_displayed())
    finally:
        fresh.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
