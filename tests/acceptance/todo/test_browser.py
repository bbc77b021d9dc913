"""The page in a real browser."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.async_api import BrowserContext, Page, async_playwright, expect

from tests.acceptance.todo.served import serving
from tests.servers.blackhole import Proxy
from tests.servers.packages import PROGRAMS
from tests.servers.plugin import Start

OpenProxy = Callable[[int], Proxy]

pytestmark = pytest.mark.needs("chromium")

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
)


@pytest.fixture
def forgiven() -> list[str]:
    """Pieces of the browser's own complaints that a test provokes."""
    return []


@pytest.fixture
async def browser(tmp_path: Path, forgiven: list[str]) -> AsyncIterator[BrowserContext]:
    """A new browser, which in the end must have loaded nothing from elsewhere and logged no error."""
    faults: list[str] = []
    async with async_playwright() as playwright:
        context = await playwright.chromium.launch_persistent_context(
            tmp_path / "browser", executable_path=PROGRAMS["chromium"].find(), args=FLAGS
        )
        context.on("weberror", lambda error: faults.append(str(error.error)))
        context.on("console", lambda line: faults.append(line.text) if line.type in ("error", "warning") else None)
        context.on("request", lambda request: faults.extend(_foreign(request.url)))
        context.on("dialog", lambda dialog: faults.append(dialog.message))
        yield context
        await context.close()
    assert [fault for fault in faults if not any(piece in fault for piece in forgiven)] == []


@pytest.fixture
async def page(address: str, browser: BrowserContext) -> Page:
    """The page of a new app."""
    return await opened(browser, address)


def _foreign(url: str) -> list[str]:
    parts = urlsplit(url)
    return [] if parts.scheme == "data" or parts.hostname == "127.0.0.1" else [url]


async def opened(browser: BrowserContext, address: str) -> Page:
    page = await browser.new_page()
    await page.goto(address)
    return page


async def add(page: Page, item: str) -> None:
    await page.get_by_label("What is to be done?").fill(item)
    await page.get_by_role("button", name="Add").click()


async def expect_saved(page: Page, *items: str) -> None:
    """The page shows these items, newest first, and none is on its way."""
    await expect(page.locator("#items .text")).to_have_text(list(items))
    await expect(page.locator("#items .item[data-state=saved]")).to_have_count(len(items))
    await expect(page.locator("#waiting")).to_be_hidden()


async def test_an_item_appears_by_itself(page: Page, browser: BrowserContext) -> None:
    """Saved and shown without a reload, in every page that is open."""
    one, other = page, await opened(browser, page.url)
    await expect(one.get_by_text("Nothing to do.")).to_be_visible()
    await add(one, "buy milk")
    await expect_saved(one, "buy milk")
    await expect_saved(other, "buy milk")
    await expect(one.get_by_label("What is to be done?")).to_have_value("")
    await add(other, "call mum!!")
    await expect_saved(one, "★ call mum", "buy milk")


async def test_an_item_waits_for_the_save_handler(page: Page) -> None:
    """Stopped, the page says what is on its way; started again, the item arrives."""
    switch = page.get_by_role("switch", name="save-handler")
    await switch.click()
    await expect(switch).not_to_be_checked()
    await add(page, "buy milk")
    await expect(page.locator("#waiting")).to_have_text("1 item is on the way. The save handler is stopped.")
    row = page.get_by_role("listitem").filter(has_text="buy milk")
    await expect(row.get_by_text("on its way")).to_be_visible()
    await page.reload()
    await expect(row.get_by_text("on its way")).to_be_visible()
    await switch.click()
    await expect(switch).to_be_checked()
    await expect_saved(page, "buy milk")


async def test_html_in_an_item_is_text(page: Page) -> None:
    """No script in an item runs, whether script or server puts it into the page."""
    evil = '<img src=x onerror="alert(1)"><script>alert(2)</script>'
    await add(page, evil)
    await expect_saved(page, evil)
    await page.reload()
    await expect_saved(page, evil)
    assert await page.locator("#items img, #items script").count() == 0


async def test_items_are_ticked_off_and_removed_by_keyboard(page: Page) -> None:
    """All is reached with Tab and done with Space and Enter, and the focus is not lost."""
    await expect(page.get_by_label("What is to be done?")).to_be_focused()
    await page.keyboard.type("buy milk")
    await page.keyboard.press("Enter")
    await expect_saved(page, "buy milk")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Tab")
    tick = page.get_by_role("checkbox", name="Done: buy milk")
    await expect(tick).to_be_focused()
    await page.keyboard.press("Space")
    await expect(tick).to_be_checked()
    await expect_saved(page, "buy milk")
    await expect(tick).to_be_focused()
    await page.reload()
    await expect(tick).to_be_checked()
    await page.get_by_role("button", name="Remove: buy milk").focus()
    await page.keyboard.press("Enter")
    await expect_saved(page)
    await expect(page.get_by_label("What is to be done?")).to_be_focused()


async def test_a_refused_item_is_kept_in_its_field(page: Page, forgiven: list[str]) -> None:
    """The page says why, and what was typed can be mended."""
    forgiven.append("422")
    await add(page, "x" * 501)
    await expect(page.get_by_role("alert")).to_contain_text("at most 500 characters")
    await expect(page.get_by_label("What is to be done?")).to_have_value("x" * 501)
    await add(page, "x")
    await expect(page.get_by_role("alert")).to_be_hidden()
    await expect_saved(page, "x")


async def test_a_lost_connection_is_shown_and_heals(
    browser: BrowserContext, tmp_path: Path, forgiven: list[str]
) -> None:
    """While the server is away nothing that was typed is lost; when it is back that is sent and the list is read."""
    forgiven += ["ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "503"]
    folder = tmp_path / "app"
    async with serving(folder) as address:
        page = await opened(browser, address)
        await add(page, "before")
        await expect_saved(page, "before")
    lost = page.get_by_text("Connection lost")
    await expect(lost).to_be_visible()
    await add(page, "after")
    await expect(page.get_by_role("alert")).to_contain_text("Not added yet")
    async with serving(folder, port=urlsplit(address).port or 0):
        await expect(lost).to_be_hidden()
        await expect_saved(page, "after", "before")
        await expect(page.get_by_role("alert")).to_be_hidden()
        await expect(page.get_by_label("What is to be done?")).to_have_value("")
        await page.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page notices soon that there is no answer."""
    for name, seconds in {
        "app.PUBLISH_WITHIN": 1.0,
        "pulse.WITHIN": 1.0,
        "pulse.EVERY": 0.2,
        "pulse.AGAIN": 0.2,
    }.items():
        monkeypatch.setattr(f"pabal.examples.todo.{name}", seconds)


@pytest.mark.usefixtures("impatient")
async def test_a_message_server_that_is_away_is_said_and_heals(
    browser: BrowserContext, start_redis: Start, open_proxy: OpenProxy, tmp_path: Path, forgiven: list[str]
) -> None:
    """The page notices by itself; what is added meanwhile stays in its field, and is sent once there is an answer."""
    forgiven.append("503")
    server = start_redis()
    proxy = open_proxy(server.port)
    async with serving(tmp_path / "app", url=server.url("redis+streams", port=proxy.port)) as address:
        page = await opened(browser, address)
        away, notice = page.get_by_text("The message server does not answer"), page.get_by_role("alert")
        await add(page, "before")
        await expect_saved(page, "before")
        await expect(away).to_be_hidden()
        proxy.stall()
        await expect(away).to_be_visible()
        await add(page, "during")
        await expect(notice).to_contain_text("sent again by itself")
        proxy.forward()
        await expect_saved(page, "during", "before")
        await expect(away).to_be_hidden()
        await expect(notice).to_be_hidden()
        await expect(page.get_by_label("What is to be done?")).to_have_value("")
        await page.close()


async def test_the_page_works_without_javascript(browser: BrowserContext, address: str) -> None:
    """Forms and list are the server's own."""
    assert browser.browser is not None
    plain = await browser.browser.new_context(java_script_enabled=False)
    page = await opened(plain, address)
    await add(page, "buy milk")
    await expect(page.locator("#items .text")).to_have_text("buy milk")
    await plain.close()


@pytest.mark.parametrize("width", [320, 360, 1280])
async def test_nothing_is_wider_than_the_screen(page: Page, width: int) -> None:
    """A long word breaks; nobody scrolls sideways."""
    await page.set_viewport_size({"width": width, "height": 700})
    await page.get_by_role("switch", name="save-handler").click()
    await add(page, "파발" + "x" * 400)
    await expect(page.get_by_text("on its way")).to_be_visible()
    assert await page.evaluate("document.documentElement.scrollWidth") == width
