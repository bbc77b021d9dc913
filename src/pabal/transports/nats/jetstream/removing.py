"""Taking messages out of a stream."""

from __future__ import annotations

from pabal.transports.nats.connection import Connection
from pabal.transports.nats.jetstream.api import NO_MESSAGE, Api, ApiError

_REMEMBERS = (2, 10)
"""The first NATS whose purge leaves alone what is in hand. One before it forgets, of every consumer of the stream, what
was handed out and is not acknowledged: that would never come again."""


class Removing:
    """Takes out what is stored of a subject up to a position, in a way in which this server loses nothing else."""

    def __init__(self, api: Api, connection: Connection) -> None:
        self._api = api
        self._connection = connection

    async def remove(self, stream: str, subject: str, *, upto: int, after: int = 0) -> None:
        """Take out all of a subject or pattern that stands behind `after`, up to and with `upto`.

        Raises ApiError and ConnectionFailed; it may be done again.
        """
        if self._connection.release >= _REMEMBERS:
            await self._api.ask(f"STREAM.PURGE.{stream}", {"filter": subject, "seq": upto + 1})
            return
        while (position := await self._next(stream, subject, after + 1)) is not None and position <= upto:
            # Not waited for: the server answers the next question after it.
            self._api.tell(f"STREAM.MSG.DELETE.{stream}", {"seq": position, "no_erase": True})
            after = position

    async def _next(self, stream: str, subject: str, start: int) -> int | None:
        """Where the first message of a subject is, from a position on."""
        try:
            answer = await self._api.ask(f"STREAM.MSG.GET.{stream}", {"seq": start, "next_by_subj": subject})
        except ApiError as error:
            if error.code == NO_MESSAGE:
                return None
            raise
        return int(answer["message"]["seq"])
