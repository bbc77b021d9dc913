"""The same app on each server: it works, and a partition of the network heals by itself while somebody looks on."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
from httpx_sse import aconnect_sse

from pabal import Bus
from tests.acceptance.todo.served import Client, client, saved, serving, texts
from tests.servers.blackhole import Proxy
from tests.servers.legs import Given
from tests.servers.plugin import Start
from tests.servers.server import Server

OpenProxy = Callable[[int], Proxy]

PATIENCE = 30.0


@asynccontextmanager
async def app_on(url: str, folder: Path) -> AsyncIterator[Client]:
    async with serving(folder, url=url) as address, client(address) as app:
        yield app


async def dead(app: Client, count: int) -> None:
    """Wait for so many dead letters: no event tells of a death."""
    async with asyncio.timeout(PATIENCE):
        while (await app.view())["dead"] != count:
            pass


async def works(app: Client) -> None:
    """What a person does with the list, from an item to a letter that is sent again."""
    id = await app.add("call mum!!")
    await app.until(lambda view: saved(view) == ["★ call mum"])
    await app.http.post(f"/todo/{id}/done", json={"done": True})
    view = await app.until(lambda view: view["on_their_way"] == 0)
    assert [True] == [row["done"] for row in view["items"]]
    assert (await app.http.get("/healthz")).json() == {"status": "ok", "failed": []}
    await app.http.post("/todo/nobody/done", json={"done": True})
    await dead(app, 1)
    assert {"sent": 1} == (await app.http.post("/dead-letters/redrive")).json()
    await dead(app, 1)
    assert {"discarded": 1} == (await app.http.post("/dead-letters/discard")).json()


async def passes_nothing_by(app: Client) -> None:
    """Where nothing waits for a handler that is away, no item is taken meanwhile."""
    await app.switch("save", "stop")
    response = await app.http.post("/todo", json={"item": "later"})
    assert (response.status_code, "start it first" in response.json()["error"]) == (409, True)
    assert "goes past it" in (await app.http.get("/")).text
    await app.switch("save", "start")
    await app.add("later")
    await app.until(lambda view: "later" in saved(view))


async def waits(app: Client) -> None:
    """Items wait for a handler that is away."""
    await app.switch("save", "stop")
    await app.add("later")
    assert "later" not in saved(await app.view())
    await app.switch("save", "start")
    await app.until(lambda view: "later" in saved(view))


@pytest.mark.parametrize("scheme", ["nats", "jetstream"])
async def test_nats(nats_server: Server | Given, own_token: str, scheme: str, tmp_path: Path) -> None:
    """Items are saved, rewritten and ticked off, dead letters sent again; with JetStream items wait, too."""
    async with app_on(nats_server.url(scheme) + f"?prefix={own_token}", tmp_path) as app:
        await works(app)
        await (waits(app) if scheme == "jetstream" else passes_nothing_by(app))


@pytest.mark.parametrize("scheme", ["redis+pubsub", "redis+streams"])
async def test_redis(redis_server: Server | Given, own_token: str, scheme: str, tmp_path: Path) -> None:
    """The same; in streams items wait."""
    async with app_on(redis_server.url(scheme) + f"?prefix={own_token}:", tmp_path) as app:
        await works(app)
        await (waits(app) if scheme == "redis+streams" else passes_nothing_by(app))


async def test_what_did_not_arrive_is_said(start_redis: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing waits, an item that the page heard of and the save handler did not is shown as lost."""
    monkeypatch.setattr("pabal.examples.todo.app.ARRIVES_WITHIN", 0.1)
    url = start_redis().url("redis+pubsub")
    async with app_on(url, tmp_path) as app:
        await app.switch("save", "stop")
        async with Bus(url) as bus:
            id = (await bus.publish("events.todo.newitem", {"item": "from a terminal"})).id
        view = await app.until(lambda view: texts(view) == ["from a terminal"])
        async with asyncio.timeout(PATIENCE):
            while view["on_their_way"]:
                view = await app.view()
        assert ["lost"] == [row["state"] for row in view["items"]]
        await app.http.post(f"/todo/{id}/remove")
        assert [] == (await app.view())["items"]


async def heals(app: Client, proxy: Proxy) -> None:
    """The page can be read during a partition and says what it does not know; its stream of events goes on after it."""
    async with aconnect_sse(app.http, "GET", "/events") as source, aclosing(source.aiter_sse()) as events:
        for connections in ("kept", "lost"):
            await app.add(f"before, {connections}")
            await app.until(lambda view: f"before, {connections}" in saved(view))  # noqa: B023 - awaited here
            proxy.stall()
            response = await app.http.post("/todo", json={"item": f"during, {connections}"})
            assert response.status_code == 503
            assert "may or may not" in response.json()["error"]
            assert "not sent" not in response.json()["error"]
            assert f"before, {connections}" in texts(await app.view())
            if connections == "lost":
                proxy.cut()
            proxy.forward()
            after = f"after, {connections}"
            async with asyncio.timeout(PATIENCE):
                while (await app.http.post("/todo", json={"item": after})).status_code != 202:
                    pass
                async for event in events:
                    if event.event == "itemsaved" and event.json()["item"] == after:
                        break
            assert after in saved(await app.view())
    assert {"status": "ok", "failed": []} == (await app.http.get("/healthz")).json()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page does not wait long for the transport."""
    monkeypatch.setattr("pabal.examples.todo.app.PUBLISH_WITHIN", 1.0)


@pytest.mark.usefixtures("impatient")
async def test_a_partition_of_jetstream_heals(start_nats: Start, open_proxy: OpenProxy, tmp_path: Path) -> None:
    """An item that is added meanwhile fails in so many words; whatever comes later comes by itself."""
    server = start_nats()
    proxy = open_proxy(server.port)
    async with app_on(server.url("jetstream", port=proxy.port), tmp_path) as app:
        await heals(app, proxy)


@pytest.mark.usefixtures("impatient")
async def test_a_partition_of_redis_streams_heals(start_redis: Start, open_proxy: OpenProxy, tmp_path: Path) -> None:
    """The same."""
    server = start_redis()
    proxy = open_proxy(server.port)
    async with app_on(server.url("redis+streams", port=proxy.port), tmp_path) as app:
        await heals(app, proxy)
