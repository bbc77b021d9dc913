"""What handlers are given beside the message: `Bus.provide` and `Router.provide`."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Annotated, Any, Protocol, Self

import pytest

from pabal import Backoff, Bus, ConfigurationError, Context, Message, Reject, RequestFailed, Router
from tests.acceptance.seen import Seen, letters


class Settings:
    def __init__(self, name: str = "") -> None:
        self.name = name


class Session:
    def __init__(self, number: int = 0) -> None:
        self.number = number


class Clock(Protocol):
    def now(self) -> float: ...


class Sessions:
    """Gives a session per call, and notes what becomes of it."""

    def __init__(self, seen: Seen) -> None:
        self.seen = seen
        self.opened = 0

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        self.opened += 1
        number = self.opened
        self.seen.add(("open", number))
        try:
            yield Session(number)
        except BaseException as error:
            self.seen.add(("roll back", number, type(error).__name__))
            raise
        else:
            self.seen.add(("commit", number))


async def test_a_value(url: str) -> None:
    """A provided value is handed to every call, beside context and message, in any order and by name."""
    bus, seen = Bus(url), Seen()
    settings = Settings("blue")
    bus.provide(Settings, settings)

    @bus.handler("a", group="g")
    async def handler(body: int, context: Context, mine: Settings, message: Message, *, again: Settings) -> None:
        seen.add((body, context.message is message, mine is settings, again is settings))

    async with bus.running():
        await bus.publish_many("a", range(2))
        await seen.wait(2)
    assert list(seen) == [(0, True, True, True), (1, True, True, True)]


async def test_a_context_around_each_call(url: str) -> None:
    """An async context is entered for each delivery, once for all who ask for it, and left before the next one."""
    bus, seen = Bus(url), Seen()
    bus.provide(Session, Sessions(seen).session)

    @bus.handler("a", group="g")
    async def handler(body: int, session: Session, same: Session) -> None:
        seen.add(("handle", body, session is same, session.number))

    async with bus.running():
        for number in range(2):
            await bus.publish("a", number)
        await seen.wait(6)
    assert list(seen) == [
        ("open", 1), ("handle", 0, True, 1), ("commit", 1),
        ("open", 2), ("handle", 1, True, 2), ("commit", 2),
    ]  # fmt: skip


async def test_what_the_handler_raises_reaches_the_context(url: str) -> None:
    """A failing handler's exception is raised in its context, and each attempt has a context of its own."""
    bus, seen = Bus(url, retry=Backoff(attempts=2, first=0.0)), Seen()
    bus.provide(Session, Sessions(seen).session)

    @bus.handler("a", group="g")
    async def handler(body: str, session: Session) -> None:
        raise KeyError(body)

    async with bus.running():
        await bus.publish("a", "x")
        (letter,) = await letters(bus)
    assert list(seen) == [("open", 1), ("roll back", 1, "KeyError"), ("open", 2), ("roll back", 2, "KeyError")]
    assert [attempt.error for attempt in letter.attempts][-1] == "KeyError: 'x'"
    assert "raise KeyError(body)" in letter.attempts[-1].traceback


async def test_contexts_are_left_in_the_reverse_order(url: str) -> None:
    """Two contexts nest: what was entered last is left first, and the first sees what the last raises at its end."""
    bus, seen = Bus(url, retry=Backoff(attempts=1)), Seen()

    @asynccontextmanager
    async def settings() -> AsyncIterator[Settings]:
        seen.add("settings in")
        try:
            yield Settings()
        finally:
            seen.add("settings out")

    @asynccontextmanager
    async def session() -> AsyncIterator[Session]:
        seen.add("session in")
        yield Session()
        seen.add("session out")
        raise OSError("the commit failed")

    bus.provide(Settings, settings)
    bus.provide(Session, session)

    @bus.handler("a", group="g")
    async def handler(body: str, settings: Settings, session: Session) -> None:
        seen.add("handle")

    async with bus.running():
        await bus.publish("a", "x")
        (letter,) = await letters(bus)
    assert list(seen) == ["settings in", "session in", "handle", "session out", "settings out"]
    assert letter.attempts[-1].error == "OSError: the commit failed"


async def test_a_plain_handler_is_given_the_same(url: str) -> None:
    """A plain def runs in its thread while its context is entered and left in the event loop."""
    bus, seen = Bus(url), Seen()
    loop_thread = threading.get_ident()

    @asynccontextmanager
    async def session() -> AsyncIterator[Session]:
        seen.add(("in", threading.get_ident() == loop_thread))
        yield Session(7)
        seen.add(("out", threading.get_ident() == loop_thread))

    bus.provide(Session, session)

    @bus.handler("a", group="g")
    def handler(body: str, session: Session, context: Context) -> None:
        seen.add(("handle", threading.get_ident() == loop_thread, session.number, context.attempt))

    async with bus.running():
        await bus.publish("a", "x")
        await seen.wait(3)
    assert list(seen) == [("in", True), ("handle", False, 7, 1), ("out", True)]


async def test_a_function_without_parameters(url: str) -> None:
    """A plain function is called for each delivery, and its result is the value."""
    bus, seen = Bus(url), Seen()
    numbers = iter(range(1, 10))
    bus.provide(Session, lambda: Session(next(numbers)))

    @bus.handler("a", group="g")
    async def handler(body: int, session: Session) -> None:
        seen.add((body, session.number))

    async with bus.running():
        for number in range(2):
            await bus.publish("a", number)
        await seen.wait(2)
    assert list(seen) == [(0, 1), (1, 2)]


class Unit:
    """A unit of work that is itself a context."""

    def __init__(self) -> None:
        self.open = False

    async def __aenter__(self) -> Self:
        self.open = True
        return self

    async def __aexit__(self, *raised: object) -> None:
        self.open = False


class Engine:
    """As SQLAlchemy's: `begin` gives a context that gives a connection."""

    @asynccontextmanager
    async def _begun(self) -> AsyncIterator[Session]:
        yield Session(3)

    def begin(self) -> Any:
        return self._begun()


async def test_what_gives_a_context_is_entered(url: str) -> None:
    """A class that is a context, and a method that gives one, are entered; a value that is one is not: it is shared."""
    bus, seen, shared = Bus(url), Seen(), Unit()
    bus.provide(Unit, Unit)
    bus.provide(Session, Engine().begin)
    bus.provide(Annotated[Unit, "shared"], shared)  # type: ignore[arg-type]  # no class, so mypy cannot read it

    @bus.handler("a", group="g")
    async def handler(body: int, unit: Unit, session: Session, common: Annotated[Unit, "shared"]) -> None:
        seen.add((unit.open, session.number, common.open, common is shared))

    async with bus.running():
        await bus.publish("a", 1)
        await seen.wait(1)
    assert list(seen) == [(True, 3, False, True)]


async def test_a_shared_context_is_never_closed_by_mistake(url: str) -> None:
    """A function whose result is the value and a context as well fails: nobody can know whether to end it."""
    bus, shared = Bus(url, retry=Backoff(attempts=1)), Unit()
    bus.provide(Unit, lambda: shared)

    @bus.handler("a", group="g")
    async def handler(body: str, unit: Unit) -> None: ...

    async with bus.running():
        await bus.publish("a", "x")
        (letter,) = await letters(bus)
    assert "gave a Unit that is itself an async context manager" in letter.attempts[-1].error


async def test_what_cannot_be_provided_fails_the_attempt(url: str) -> None:
    """An error in the factory is an attempt that failed, tried again, and its record names the type and the cause."""
    bus, seen = Bus(url, retry=Backoff(attempts=3, first=0.0)), Seen()

    @asynccontextmanager
    async def session() -> AsyncIterator[Session]:
        seen.add("asked")
        if len(seen) < 3:
            raise ConnectionError("the database is away")
        yield Session(1)

    bus.provide(Session, session)

    @bus.handler("a", group="g")
    async def handler(body: str, session: Session) -> str:
        seen.add("handled")
        return body

    async with bus.running():
        with pytest.raises(RequestFailed, match="could not provide Session: ConnectionError: the database is away"):
            await bus.request("a", "x")
        await bus.publish("a", "x")
        await seen.wait(4)
    assert list(seen) == ["asked", "asked", "asked", "handled"]


async def test_a_factory_may_say_how_the_attempt_ends(url: str) -> None:
    """`Reject` and `Retry` mean in a factory what they mean in a handler."""
    bus = Bus(url)

    @asynccontextmanager
    async def session() -> AsyncIterator[Session]:
        raise Reject("no such tenant")
        yield Session()

    bus.provide(Session, session)

    @bus.handler("a", group="g")
    async def handler(body: str, session: Session) -> None: ...

    async with bus.running():
        await bus.publish("a", "x")
        (letter,) = await letters(bus)
    assert letter.reason == "rejected"


async def test_a_timeout_covers_what_is_provided(url: str) -> None:
    """The time a call may take includes entering its contexts, and a call that takes longer still leaves them."""
    bus, seen = Bus(url, retry=Backoff(attempts=1)), Seen()
    bus.provide(Session, Sessions(seen).session)

    @bus.handler("a", group="g", timeout=0.01)
    async def handler(body: str, session: Session) -> None:
        await asyncio.Event().wait()

    async with bus.running():
        await bus.publish("a", "x")
        (letter,) = await letters(bus)
    assert list(seen) == [("open", 1), ("roll back", 1, "CancelledError")]
    assert letter.attempts[-1].error == "TimeoutError: not done within 0.01 s"


def test_a_type_that_is_not_provided() -> None:
    """A bus refuses the handler where it is written, and says what to do."""
    bus = Bus("memory://")
    with pytest.raises(ConfigurationError, match=r"'session' takes Session, .*: provide it first, as in bus\.provide"):

        @bus.handler("a", group="g")
        async def handler(body: str, session: Session) -> None: ...

    bus.provide(Session, Session())
    bus.handler("a", group="g")(handler_of_sessions)


async def handler_of_sessions(body: str, session: Session) -> None: ...


async def handler_with_default(body: str, session: Session | None = None) -> bool:
    return session is not None


async def test_a_default_stays_where_nothing_is_provided(url: str) -> None:
    """A parameter with a default keeps it, until its type is provided."""
    without, given = Bus(url), Bus(url)
    without.handler("without", group="g")(handler_with_default)
    given.provide(Session, Session())
    given.handler("given", group="g")(handler_with_default)
    async with without.running(), given.running():
        assert (await without.request("without", ""), await given.request("given", "")) == (False, True)


async def test_routers_provide_for_their_own(url: str) -> None:
    """A router's handlers get what it provides and the rest from the bus; a router of a router likewise."""
    bus, outer, inner = Bus(url), Router(), Router()

    async def handler(body: str, settings: Settings, session: Session) -> tuple[str, int]:
        return settings.name, session.number

    inner.handler("inner", group="g")(handler)
    outer.handler("outer", group="g")(handler)
    inner.provide(Settings, Settings("inner"))
    outer.provide(Settings, Settings("outer"))
    bus.provide(Settings, Settings("bus"))
    bus.provide(Session, Session(5))
    bus.handler("bus", group="g")(handler)
    outer.include(inner)
    bus.include(outer)
    async with bus.running():
        answers = [await bus.request(channel, "") for channel in ("bus", "outer", "inner")]
    assert answers == [["bus", 5], ["outer", 5], ["inner", 5]]


def test_a_router_is_checked_where_it_is_included() -> None:
    """A router may ask for what its bus provides; a bus that does not refuses it, and takes none of its handlers."""
    router, bus = Router(), Bus("memory://")
    router.handler("a", group="g")(handler_of_sessions)
    with pytest.raises(ConfigurationError, match="provide it first"):
        bus.include(router)
    bus.provide(Session, Session())
    bus.include(router)


@asynccontextmanager
async def with_argument(url: str) -> AsyncIterator[Session]:
    yield Session()


async def generator() -> AsyncIterator[Session]:
    yield Session()


async def coroutine() -> Session:
    return Session()


@contextmanager
def plain_context() -> Iterator[Session]:
    yield Session()


class Time:
    def now(self) -> float:
        return 0.0


@pytest.mark.parametrize(
    ("type", "factory", "text"),
    [
        (Session, with_argument, "takes arguments"),
        (Session, generator, "decorate it with @asynccontextmanager"),
        (Session, coroutine, "plain async def"),
        (Session, plain_context, "is not async"),
        (Context, lambda: None, "Context is the delivery's own"),
        (Message, lambda: None, "Message is the delivery's own"),
        (Clock, Time, "whether something is a Clock cannot be seen"),
        (Settings, Settings(), "Settings is provided already"),
    ],
    ids=["arguments", "generator", "coroutine", "contextmanager", "Context", "Message", "protocol", "twice"],
)
def test_what_is_no_factory(type: Any, factory: Callable[..., Any], text: str) -> None:
    """A factory that would give something else than it seems to is refused at once."""
    bus = Bus("memory://")
    bus.provide(Settings, Settings())
    with pytest.raises(ConfigurationError, match=text):
        bus.provide(type, factory)


async def test_a_protocol(url: str) -> None:
    """A type that values need not name is provided by a value that has what it asks for."""
    bus = Bus(url)
    bus.provide(Clock, Time())

    @bus.handler("a", group="g")
    async def handler(body: str, clock: Clock) -> float:
        return clock.now()

    async with bus.running():
        assert await bus.request("a", "") == 0.0
