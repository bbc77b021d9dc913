"""``trouble://``: the memory transport, with something done before its calls."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ClassVar
from weakref import WeakValueDictionary

from pabal.model.address import Address
from pabal.model.capabilities import Capabilities
from pabal.model.clock import Clock
from pabal.model.errors import ConnectionFailed
from pabal.model.outcome import Settlement
from pabal.model.transport import Delivery, Receipt, Settled, Source
from pabal.transports.memory import MemoryTransport


class Trouble:
    """What happens before the calls of one ``trouble://`` URL.

    ``before["settle"] = f`` awaits ``f(what it is called with)`` before each settle; `calls` counts.
    """

    known: ClassVar[WeakValueDictionary[str, Trouble]] = WeakValueDictionary()

    def __init__(self) -> None:
        name = uuid.uuid4().hex
        self.url = f"trouble://{name}"
        self.before: dict[str, Callable[[Any], Awaitable[object]]] = {}
        self.calls: Counter[str] = Counter()
        self.known[name] = self

    async def meet(self, verb: str, given: Any) -> None:
        self.calls[verb] += 1
        if verb in self.before:
            await self.before[verb](given)

    def at(self, other: Trouble) -> str:
        """A URL of the server of `other`, with trouble of its own."""
        return f"{self.url}?server={other.url.partition('://')[2]}&lease=30"

    def fail(self, verb: str, error: Exception | None = None) -> None:
        """From now on `verb` fails."""

        async def failing(_: Any) -> None:
            raise error or ConnectionFailed("the server is away")

        self.before[verb] = failing

    def heal(self) -> None:
        """Nothing fails any more."""
        self.before.clear()


class TroubleTransport:
    def __init__(self, address: Address, /, *, clock: Clock) -> None:
        self._trouble = Trouble.known[address.netloc]
        server = address.query.get("server", address.netloc)
        lease = address.query.get("lease", "30")
        self._memory = MemoryTransport(Address(f"memory://{server}?lease={lease}"), clock=clock)

    async def open(self) -> Capabilities:
        await self._trouble.meet("open", None)
        return await self._memory.open()

    async def publish(self, posts: Any, /) -> Sequence[Receipt]:
        await self._trouble.meet("publish", posts)
        return await self._memory.publish(posts)

    async def subscribe(self, source: Source, /) -> TroubleSubscription:
        await self._trouble.meet("subscribe", source)
        return TroubleSubscription(await self._memory.subscribe(source), self._trouble)

    async def park(self, letters: Any, /) -> None:
        await self._trouble.meet("park", letters)
        await self._memory.park(letters)

    async def replies(self, receive: Any, /) -> str:
        await self._trouble.meet("replies", receive)
        return await self._memory.replies(receive)

    async def reply(self, answer: Any, /) -> None:
        await self._trouble.meet("reply", answer)
        await self._memory.reply(answer)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._memory, name)


class TroubleSubscription:
    def __init__(self, subscription: Any, trouble: Trouble) -> None:
        self._subscription = subscription
        self._trouble = trouble

    @property
    def lease(self) -> float | None:
        lease: float | None = self._subscription.lease
        return lease

    async def receive(self, limit: int, /) -> Sequence[Delivery]:
        await self._trouble.meet("receive", limit)
        deliveries: Sequence[Delivery] = await self._subscription.receive(limit)
        return deliveries

    async def settle(self, settled: Sequence[Settled], /) -> Sequence[Settlement]:
        await self._trouble.meet("settle", settled)
        settlements: Sequence[Settlement] = await self._subscription.settle(settled)
        return settlements

    async def extend(self, deliveries: Sequence[Delivery], /) -> Sequence[Delivery]:
        await self._trouble.meet("extend", deliveries)
        lost: Sequence[Delivery] = await self._subscription.extend(deliveries)
        return lost

    def resize(self, window: int, /) -> None:
        self._subscription.resize(window)

    async def aclose(self) -> None:
        await self._trouble.meet("close", None)
        await self._subscription.aclose()
