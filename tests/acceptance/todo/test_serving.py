"""How the app starts, whom it lets in, and how it ends."""

import asyncio
import resource
import signal
import socket
from pathlib import Path

import pytest

from pabal import ConfigurationError
from pabal.examples.todo import serve
from tests.acceptance.todo.served import Client, client, process, saved, serving


async def test_the_page_has_no_foreign_parts_and_a_strict_policy(app: Client) -> None:
    """No script but the page's own can ever run, and nothing is loaded from elsewhere."""
    response = await app.http.get("/")
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http://" not in response.text
    assert "https://" not in response.text


async def test_html_in_an_item_is_text(app: Client) -> None:
    """The page that the server writes escapes every item."""
    await app.add("<script>alert(1)</script>")
    page = (await app.http.get("/")).text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


async def test_health(app: Client) -> None:
    """A handler that somebody stopped has not failed."""
    await app.switch("save", "stop")
    response = await app.http.get("/healthz")
    assert (response.status_code, response.json()) == (200, {"status": "ok", "failed": []})


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (421, {"Host": "todo.example"}),
        (403, {"Origin": "http://todo.example"}),
        (403, {"Origin": "null"}),
        (403, {"Sec-Fetch-Site": "cross-site"}),
    ],
)
async def test_other_sites_cannot_write(app: Client, status: int, headers: dict[str, str]) -> None:
    """A web page elsewhere can send requests to loopback; none of them has an effect."""
    response = await app.http.post("/todo", data={"item": "gotcha"}, headers=headers)
    assert response.status_code == status
    assert (await app.view())["items"] == []


async def test_unknown_handlers_are_named(app: Client) -> None:
    """The answer says which ones there are."""
    response = await app.http.post("/handlers/nobody/stop")
    assert response.status_code == 404
    assert "save, mutate, audit" in response.json()["error"]


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.1", "todo.example", ""])  # noqa: S104 - refused
async def test_only_loopback_is_served(tmp_path: Path, host: str) -> None:
    """The app has no log-in, so it refuses any other address before it makes a file."""
    with pytest.raises(ConfigurationError, match="loopback"):
        await serve(host=host, folder=tmp_path / "none")
    assert not (tmp_path / "none").exists()


async def test_a_taken_port_is_said_and_not_replaced(tmp_path: Path) -> None:
    """Whoever asks for a port wants that one."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"port {port}"):
            await serve(port=port, folder=tmp_path)


async def test_two_demos_find_two_ports(tmp_path: Path) -> None:
    """Where the usual port is taken, the second one finds a free one."""
    async with serving(tmp_path / "a") as first, serving(tmp_path / "b") as second:
        assert first != second


async def test_a_folder_may_have_any_name(tmp_path: Path) -> None:
    """A space, a percent sign or a question mark in the path changes nothing."""
    folder = tmp_path / "what? 100% #1"
    async with serving(folder) as address, client(address) as app:
        await app.add("buy milk")
        await app.until(lambda view: saved(view) == ["buy milk"])
    assert sorted(path.suffix for path in folder.glob("*.db")) == [".db", ".db"]


async def test_a_bad_url_ends_the_start(tmp_path: Path) -> None:
    """No page is served on a transport that is not there."""
    with pytest.raises(ConfigurationError):
        await serve("nosuch://thing", folder=tmp_path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains_and_ends(tmp_path: Path, number: signal.Signals) -> None:
    """It ends although a browser listens, says nothing on stderr, and what was saved is there again."""
    async with process(tmp_path) as (address, running), client(address) as app:
        await app.add("buy milk")
        await app.until(lambda view: saved(view) == ["buy milk"])
        async with app.http.stream("GET", "/events") as events:
            running.send_signal(number)
            assert [line async for line in events.aiter_lines() if line.startswith("data")] == []
        assert running.stdout is not None
        assert await running.stdout.read() == b"drained\n"
        assert await running.wait() == 0
    async with serving(tmp_path) as address, client(address) as app:
        assert saved(await app.view()) == ["buy milk"]


async def test_items_survive_a_kill(tmp_path: Path) -> None:
    """What was answered with 202 is saved at the next start, though the process died before it was."""
    async with process(tmp_path) as (address, running), client(address) as app:
        await app.switch("save", "stop")
        await app.add("buy milk")
        running.kill()
        await running.wait()
    async with serving(tmp_path) as address, client(address) as app:
        await app.until(lambda view: saved(view) == ["buy milk"])


async def test_a_full_disk_is_said_and_nothing_is_answered_as_taken(tmp_path: Path) -> None:
    """503 with Retry-After while the transport cannot write, and 202 as soon as it can."""
    async with process(tmp_path) as (address, running), client(address) as app:
        hard = resource.RLIM_INFINITY
        resource.prlimit(running.pid, resource.RLIMIT_FSIZE, (0, hard))
        response = await app.http.post("/todo", json={"item": "no room"})
        assert (response.status_code, response.headers["retry-after"]) == (503, "2")
        assert "not sent" in response.json()["error"]
        resource.prlimit(running.pid, resource.RLIMIT_FSIZE, (hard, hard))
        await app.add("room")
        view = await app.until(lambda view: saved(view) != [])
        assert saved(view) == ["room"]


async def test_too_many_browsers_are_told_to_come_later(app: Client) -> None:
    """The number of streams is bounded, and a place that was left is free again."""
    streams = [app.http.build_request("GET", "/events") for _ in range(100)]
    open_streams = [await app.http.send(stream, stream=True) for stream in streams]
    try:
        refused = await app.http.get("/events")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "30")
    finally:
        await asyncio.gather(*(stream.aclose() for stream in open_streams))
    again = 503
    while again == 503:  # until the server has seen that they are gone
        async with app.http.stream("GET", "/events") as stream:
            again = stream.status_code
    assert again == 200
