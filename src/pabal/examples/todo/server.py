"""The whole app in one process: handlers, page, and their end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import uvicorn
from platformdirs import user_data_path

from pabal import Bus, CapabilityError, ConfigurationError
from pabal.examples.todo.app import Todo
from pabal.examples.todo.handlers import audit_handler, mutating_handler, save_handler
from pabal.examples.todo.items import Items
from pabal.examples.todo.worker import Worker

PORT = 8321


async def serve(
    url: str | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    folder: Path | None = None,
    announce: Callable[[str], None] = print,
) -> None:
    """Serve the to-do list until SIGTERM or SIGINT, then drain.

    Args:
        url: the transport; None: an embedded SQLite message box in `folder`.
        host: a loopback address; the app has no log-in, so no other is taken.
        port: 0: 8321, or a free one where that is taken.
        folder: where the databases are; None: the user's data folder.
        announce: called with the page's address, once, when it can be opened.

    Raises ConfigurationError for another host or a port that is taken, PabalError when the transport cannot be
    used or cannot keep what the save handler needs.
    """
    with listen(host, port) as listening, logged():
        folder = (folder or user_data_path("pabal", appauthor=False) / "demo").resolve()
        folder.mkdir(parents=True, exist_ok=True)
        url = _shared(url or f"sqlite:///{quote(str(folder / 'messages.db'))}")
        items = Items(folder / "items.db")
        plan = await save_handler(Bus(url), items).plan()
        keeps = all(line.need != "at most once" for line in plan)
        letters = None
        if not any(line.need == "dead letters" and line.verdict == "native" for line in plan):
            letters = f"sqlite:///{quote(str(folder / 'dead-letters.db'))}"
        # Each of them could as well be a process of its own, on another machine.
        save = Worker("save", lambda: save_handler(Bus(url, name="todo-save", dead_letters=letters), items))
        mutate = Worker("mutate", lambda: mutating_handler(Bus(url, name="todo-mutate", dead_letters=letters)))
        audit = Worker("audit", lambda: audit_handler(Bus(url, name="todo-audit", dead_letters=letters)))
        async with AsyncExitStack() as stack:
            stack.push_async_callback(items.aclose)
            await items.open()
            # Handlers first: a group exists, and keeps what comes for it, once it has subscribed.
            for worker in (save, mutate, audit):
                stack.push_async_callback(worker.stop)
                try:
                    await worker.start()
                except CapabilityError:
                    if worker is save:
                        raise  # the others are extras: the page says that they are missing
            page = Bus(url, name="todo-page", dead_letters=letters)
            todo = Todo(page, items, [save, mutate, audit], keeps=keeps)
            crew = await stack.enter_async_context(todo.bus.running())
            server = Server(todo, announce=lambda: announce(_address(listening)))
            asking = asyncio.create_task(todo.pulse.run(), name="todo: pulse")
            stack.push_async_callback(_ended, asking)
            with on_signal(crew.stop):
                await run(server, listening, until=crew.wait())


class Server(uvicorn.Server):
    """A uvicorn server that leaves the signals to the app, and says when it listens."""

    def __init__(self, todo: Todo, *, announce: Callable[[], None]) -> None:
        config = uvicorn.Config(
            todo.asgi(),
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=5,
        )
        super().__init__(config)
        self._todo = todo
        self._announce = announce

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then announce."""
        await super().startup(sockets)
        self._announce()

    def stop(self) -> None:
        """Take no more, and let what runs end; the browsers' streams would never."""
        self._todo.browsers.close()
        self.should_exit = True


async def run(server: Server, listening: socket.socket, until: Coroutine[Any, Any, None]) -> None:
    """Serve until `until` returns or raises, then end what runs."""
    serving = asyncio.create_task(server.serve(sockets=[listening]), name="todo: page")
    ending = asyncio.create_task(until, name="todo: until the end")
    try:
        await asyncio.wait((serving, ending), return_when=asyncio.FIRST_COMPLETED)
    finally:
        server.stop()
        ending.cancel()
        _, ended = await asyncio.gather(serving, ending, return_exceptions=True)
    serving.result()
    if isinstance(ended, Exception):
        raise ended


@contextlib.contextmanager
def logged() -> Iterator[None]:
    """Show the app's log on stderr, unless whoever started the app has set up logging."""
    if logging.getLogger().hasHandlers():
        yield
        return
    logs, handler = [logging.getLogger(name) for name in ("todo", "pabal")], logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s"))
    for log in logs:
        log.addHandler(handler)
        log.setLevel(logging.INFO)  # that a connection is back is told at this level
    try:
        yield
    finally:
        for log in logs:
            log.removeHandler(handler)


@contextlib.contextmanager
def on_signal(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` at the first SIGTERM or SIGINT; a second one ends the process at once."""
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)

    def first() -> None:
        for number in signals:
            loop.remove_signal_handler(number)
        stop()

    for number in signals:
        loop.add_signal_handler(number, first)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on a loopback address. Raises ConfigurationError for another, and for a taken port."""
    address = "127.0.0.1" if host == "localhost" else host
    try:
        loopback = ipaddress.ip_address(address).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise ConfigurationError(f"{host!r} is no loopback address; the demo has no log-in, so use 127.0.0.1 or ::1")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        return socket.create_server((address, port or PORT), family=family)
    except OSError as error:
        if port or error.errno != errno.EADDRINUSE:
            raise ConfigurationError(f"cannot listen on {host} port {port or PORT}: {error.strerror}") from None
        return socket.create_server((address, 0), family=family)


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait((task,))


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def _shared(url: str) -> str:
    """The same URL, but one broker for all of the app's buses where it gives each bus its own."""
    parts = urlsplit(url)
    return url.replace("memory://", "memory://todo", 1) if parts.scheme == "memory" and not parts.netloc else url
