"""The page and its routes. What is written here is published; the database is only read."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates

from pabal import Bus, Channel, ConnectionFailed, Message, PabalError, PublishTimeout
from pabal.examples.todo.events import (
    DONE_CHANGED,
    ITEM_REMOVED,
    ITEM_SAVED,
    NEW_ITEM,
    DoneChanged,
    Item,
    ItemRemoved,
    NewItem,
    check_item,
)
from pabal.examples.todo.forms import answer, convert, fields, wants_page
from pabal.examples.todo.guard import Guard
from pabal.examples.todo.items import Items
from pabal.examples.todo.pulse import Pulse
from pabal.examples.todo.push import Browsers
from pabal.examples.todo.view import View, dead_letters, look
from pabal.examples.todo.waiting import Change, Waiting
from pabal.examples.todo.worker import Worker

PAGE = Path(__file__).parent / "page"
PUBLISH_WITHIN = 5.0
ARRIVES_WITHIN = 10.0

templates = Jinja2Templates(PAGE)


class Todo:
    """The to-do list over HTTP, on a bus that is not running yet.

    `keeps`: whether what is published waits for a handler that is away; what does not may be lost.
    """

    def __init__(self, bus: Bus, items: Items, workers: Sequence[Worker], *, keeps: bool) -> None:
        self.bus = bus
        self.browsers = Browsers()
        self.pulse = Pulse(bus, self.browsers)
        self._items = items
        self._workers = {worker.name: worker for worker in workers}
        self._waiting = Waiting()
        self._keeps = keeps

        @bus.listen(ITEM_SAVED)
        async def refresh(saved: Item) -> None:
            self.browsers.tell("itemsaved", msgspec.json.encode(saved))

        @bus.listen(NEW_ITEM)
        async def expect(new: NewItem, message: Message) -> None:
            # Items come from elsewhere too, `pabal publish` for one.
            if message.id not in self._waiting.changes:
                self._expect(message.id, Change(message.id, item=new.item))

    def asgi(self) -> Starlette:
        """The routes."""
        return Starlette(
            routes=[
                Route("/", self.page),
                Route("/items", self.list),
                Route("/events", self.events),
                Route("/healthz", self.health),
                Route("/todo", self.add, methods=["POST"]),
                Route("/todo/{id}/done", self.tick, methods=["POST"]),
                Route("/todo/{id}/remove", self.remove, methods=["POST"]),
                Route("/handlers/{name}/{verb}", self.switch, methods=["POST"]),
                Route("/dead-letters/redrive", self.redrive, methods=["POST"]),
                Route("/dead-letters/discard", self.discard, methods=["POST"]),
                Mount("/static", StaticFiles(directory=PAGE / "static")),
            ],
            middleware=[Middleware(Guard)],
            exception_handlers={HTTPException: self._refused},
        )

    # What is written: published, and nothing else.

    async def add(self, request: Request) -> Response:
        """Publish a new item."""
        given = await fields(request)
        request.state.typed = given.get("item")
        try:
            new = NewItem(check_item(convert(given, NewItem).item))
        except ValueError as error:
            raise HTTPException(422, str(error)) from None
        if not self._keeps and not self._workers["save"].running:
            raise HTTPException(409, "the save handler is stopped, and nothing waits for it here; start it first")
        # Whoever sends an item again under the id that it had has it once: the message's id is the item's.
        id = await self._publish(NEW_ITEM, new, id=_given_id(given))
        self._expect(id, Change(id, item=new.item))
        return answer(request, {"id": id})

    async def tick(self, request: Request) -> Response:
        """Publish that an item was ticked off, or on again."""
        changed = convert({**await fields(request), "id": _item_id(request)}, DoneChanged)
        id = await self._publish(DONE_CHANGED, changed, key=changed.id)
        self._expect(changed.id, Change(id, done=changed.done))
        return answer(request, {"id": id})

    async def remove(self, request: Request) -> Response:
        """Publish that an item is to go."""
        removed = ItemRemoved(_item_id(request))
        lost = self._waiting.changes.get(removed.id)
        if lost is not None and lost.lost:  # the database never had it
            self._waiting.forget({lost.message})
            self.browsers.tell("waiting", msgspec.json.encode(removed.id))
            return answer(request, {"id": lost.message})
        id = await self._publish(ITEM_REMOVED, removed, key=removed.id)
        self._expect(removed.id, Change(id, removed=True))
        return answer(request, {"id": id})

    # What is read.

    async def page(self, request: Request) -> Response:
        """The page."""
        return await self._page(request)

    async def list(self, _: Request) -> Response:
        """The page's content as JSON."""
        return Response(msgspec.json.encode(await self._look()), media_type="application/json")

    async def events(self, _: Request) -> Response:
        """A stream of server-sent events: something has changed."""
        if self.browsers.full:
            raise HTTPException(503, "too many browsers listen", headers={"Retry-After": "30"})
        return StreamingResponse(self.browsers.stream(), media_type="text/event-stream")

    async def health(self, _: Request) -> Response:
        """Whether the database answers and no handler has failed; one that was stopped has not."""
        view = await self._look()
        failed = [name for name, handler in view.handlers.items() if handler.problem]
        return JSONResponse({"status": "failed" if failed else "ok", "failed": failed}, 503 if failed else 200)

    # What only a demo lets everybody do.

    async def switch(self, request: Request) -> Response:
        """Stop or start a handler, as if its process had been."""
        name, verb = request.path_params["name"], request.path_params["verb"]
        worker = self._workers.get(name)
        if worker is None or verb not in ("start", "stop"):
            raise HTTPException(404, f"use /handlers/NAME/start or stop; the names are {', '.join(self._workers)}")
        with _unavailable(f"{name} does not {verb}"):
            await (worker.start() if verb == "start" else worker.stop())
        self.browsers.tell("handlers", msgspec.json.encode({name: worker.running}))
        return answer(request, {"running": worker.running}, 200)

    async def redrive(self, request: Request) -> Response:
        """Send the app's dead letters again."""
        with _unavailable("the dead letters cannot be sent again"):
            sent = await self.bus.dead_letters.redrive([letter.id for letter in await dead_letters(self.bus)])
        self.browsers.tell("dead", b"{}")
        return answer(request, {"sent": sum(one.error is None for one in sent)}, 200)

    async def discard(self, request: Request) -> Response:
        """Delete the app's dead letters: the one way in which a message goes, and a person chooses it."""
        with _unavailable("the dead letters cannot be discarded"):
            letters = await dead_letters(self.bus)
            discarded = await self.bus.dead_letters.discard([letter.id for letter in letters])
        self._waiting.forget({letter.message.id for letter in letters})
        self.browsers.tell("dead", b"{}")
        return answer(request, {"discarded": discarded}, 200)

    async def _publish(
        self, channel: Channel[Any], value: object, *, key: str | None = None, id: str | None = None
    ) -> str:
        with _unavailable("not sent, please try again"):
            try:
                receipt = await self.bus.publish(channel, value, key=key, id=id, timeout=PUBLISH_WITHIN)
            except (PublishTimeout, ConnectionFailed):
                self.pulse.tell(away=True)
                raise
        return receipt.id

    def _expect(self, item: str, change: Change) -> None:
        if not self._keeps:
            change = msgspec.structs.replace(change, by=time.monotonic() + ARRIVES_WITHIN)
        self._waiting.expect(item, change)
        self.browsers.tell("waiting", msgspec.json.encode(item))

    async def _look(self) -> View:
        with _unavailable("the list cannot be read"):
            view = await look(self.bus, self._items, self._waiting, self._workers.values())
        return msgspec.structs.replace(view, away=self.pulse.away)

    async def _page(self, request: Request, notice: str = "", status: int = 200) -> Response:
        typed = getattr(request.state, "typed", "")
        context = {"view": await self._look(), "notice": notice, "typed": typed, "keeps": self._keeps}
        return templates.TemplateResponse(request, "index.html", context, status)

    async def _refused(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for these alone
        if request.method == "POST" and wants_page(request):
            with contextlib.suppress(HTTPException):
                return await self._page(request, error.detail, error.status_code)
        return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)


@contextlib.contextmanager
def _unavailable(what: str) -> Iterator[None]:
    """Let the client try again later, and tell it what failed."""
    try:
        yield
    except PublishTimeout:
        told = "no answer, so this may or may not have arrived; look at the list before you try again"
        raise HTTPException(503, told, headers={"Retry-After": "2"}) from None
    except (PabalError, SQLAlchemyError) as error:
        raise HTTPException(503, f"{what}: {error}", headers={"Retry-After": "2"}) from None


def _item_id(request: Request) -> str:
    id = str(request.path_params["id"])
    if len(id) > 200:
        raise HTTPException(404, "there is no such item")
    return id


def _given_id(given: dict[str, Any]) -> str | None:
    try:
        return str(uuid.UUID(given["id"])) if "id" in given else None
    except (ValueError, TypeError, AttributeError):
        raise HTTPException(422, "an id is a UUID") from None
