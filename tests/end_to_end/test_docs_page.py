"""The page at ``/docs`` in a real browser: a certificate is entered, an event is sent."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.expected_conditions import element_to_be_clickable
from selenium.webdriver.support.wait import WebDriverWait

from eventserver_core.backends.auth import IssuedCertificate, Role
from eventserver_core.testing.server import EventServerProcess

from .conftest import Start

pytestmark = [pytest.mark.slow, pytest.mark.real]

_GET_IT = "Chromium is needed: apt-get install --no-install-recommends chromium chromium-driver"
_SECONDS = 60
# in a container there is no sandbox to be had; and of names none is known, whatever is asked
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--window-size=1280,2400",
)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    """Chromium without a window, which logs what it asks for and what it complains of."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.fail(_GET_IT)
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*_FLAGS, f"--user-data-dir={tmp_path / 'chromium'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = webdriver.Chrome(options=options, service=Service(driver))
    yield chrome
    chrome.quit()


@pytest.fixture
def server(start: Start) -> EventServerProcess:
    return start("serve", server__workers=1)


class Page:
    """The page, as somebody uses it.

    Args:
        browser: shows it.
        url: the server's.
    """

    def __init__(self, browser: webdriver.Chrome, url: str) -> None:
        self._browser = browser
        self._wait = WebDriverWait(browser, _SECONDS)
        browser.get(f"{url}/docs#/events/sendEvent")

    def click(self, selector: str) -> None:
        """Click what a CSS selector finds, once it can be clicked."""
        self._wait.until(element_to_be_clickable((By.CSS_SELECTOR, selector))).click()

    def text(self, selector: str) -> str:
        """Return the text of what a CSS selector finds, once there is some."""
        return str(
            self._wait.until(
                lambda browser: browser.find_element(By.CSS_SELECTOR, selector).text,
                f"nothing at {selector}",
            )
        )

    def authorize(self, certificate: str) -> None:
        """Enter a certificate."""
        self.click(".auth-wrapper .authorize")
        entry = self._browser.find_element(By.CSS_SELECTOR, ".modal-ux input")
        entry.send_keys(certificate)
        self.click(".modal-ux .authorize")
        self.click(".modal-ux .btn-done")

    def execute(self, operation: str) -> tuple[str, str]:
        """Try an operation with its first example; returns the status and the body shown."""
        block = f"#operations-{operation}"
        self.click(f"{block} .try-out__btn")
        self.click(f"{block} .execute")
        status = self.text(f"{block} .live-responses-table .response .response-col_status")
        return status, self.text(f"{block} .live-responses-table .response .highlight-code")


def test_an_event_is_sent_with_a_certificate_from_the_page(
    browser: webdriver.Chrome,
    server: EventServerProcess,
    issue: Callable[[Role, str], IssuedCertificate],
) -> None:
    page = Page(browser, server.url)
    page.authorize(issue(Role.RELAY, "relay-1").token)
    status, body = page.execute("events-sendEvent")
    assert status.startswith("201")
    assert '"status": "stored"' in body
    asked = list(requests_of(browser))
    here = urlsplit(server.url).netloc
    assert {urlsplit(url).netloc for url in asked} == {here}
    assert {urlsplit(url).path for url in asked} >= {"/docs", "/openapi.json", "/api/v1/events"}
    assert [entry["message"] for entry in browser.get_log("browser")] == []


def requests_of(browser: webdriver.Chrome) -> Iterator[str]:
    """Yield the address of everything that was asked of a server; others lie in the browser."""
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            url = message["params"]["request"]["url"]
            if urlsplit(url).scheme not in ("data", "blob", "chrome", "chrome-untrusted"):
                yield url
