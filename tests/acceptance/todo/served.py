"""The reference app as it runs, in this process or in one of its own."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from httpx_sse import aconnect_sse

from pabal.examples.todo import serve

View = dict[str, Any]

PROGRAM = """
import asyncio, logging, pathlib, sys
from pabal.examples.todo import serve
logging.basicConfig(level=logging.INFO)
asyncio.run(serve(folder=pathlib.Path(sys.argv[1]), announce=lambda address: print(address, flush=True)))
print("drained", flush=True)
"""


@asynccontextmanager
async def serving(folder: Path, *, url: str | None = None, port: int = 0) -> AsyncIterator[str]:
    """The app in this process; yields its address."""
    announced: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    app = asyncio.create_task(serve(url, port=port, folder=folder, announce=announced.set_result))
    try:
        await asyncio.wait((announced, app), return_when=asyncio.FIRST_COMPLETED)
        if app.done():
            app.result()
        yield announced.result()
    finally:
        app.cancel()
        await asyncio.wait((app,))


@asynccontextmanager
async def process(folder: Path) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """The app in a process of its own, without limit of time; yields its address and the process."""
    app = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-c", PROGRAM, str(folder), stdout=asyncio.subprocess.PIPE
    )
    assert app.stdout is not None
    try:
        yield (await app.stdout.readline()).decode().strip(), app
    finally:
        if app.returncode is None:
            app.kill()
        await app.communicate()


class Client:
    """A program that uses the app over HTTP."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def view(self) -> View:
        """What the page shows now."""
        view: View = (await self.http.get("/items")).raise_for_status().json()
        return view

    async def add(self, item: str) -> str:
        """Add an item; returns its id."""
        response = await self.http.post("/todo", json={"item": item})
        assert response.status_code == 202, response.text
        return str(response.json()["id"])

    async def switch(self, handler: str, verb: str) -> None:
        """Stop or start a handler."""
        assert (await self.http.post(f"/handlers/{handler}/{verb}")).is_success

    async def until(self, condition: Callable[[View], bool]) -> View:
        """The first view of which the condition is true, looked at again at each event, as the page does."""
        async with aconnect_sse(self.http, "GET", "/events") as source:
            if condition(view := await self.view()):
                return view
            async for _ in source.aiter_sse():
                if condition(view := await self.view()):
                    return view
        raise AssertionError("the stream of events has ended")


@asynccontextmanager
async def client(address: str) -> AsyncIterator[Client]:
    """A client of the app at that address."""
    no_limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=address, timeout=20, limits=no_limits, trust_env=False) as http:
        yield Client(http)


def texts(view: View) -> list[str]:
    """The items' texts, in the page's order."""
    return [row["item"] for row in view["items"]]


def saved(view: View) -> list[str]:
    """The texts of the items that the database has."""
    return [row["item"] for row in view["items"] if row["saved"]]
