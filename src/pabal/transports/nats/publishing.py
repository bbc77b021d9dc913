"""Publishing with the knowledge of whether anybody is there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nats import errors

from pabal.model.errors import CapabilityError, CodecError, ConnectionFailed, MessageTooLarge, PublishTimeout
from pabal.model.transport import Post, Receipt
from pabal.transports.nats.connection import Connection, check_cancelled
from pabal.transports.nats.subjects import PROBE, Subjects
from pabal.transports.nats.wire import headers_of, size

if TYPE_CHECKING:
    from nats.aio.msg import Msg

NOBODY = "503"


class Publishing:
    """Sends messages with a private reply subject: the server answers there at once when nobody is subscribed.

    Those answers come before our own message that is sent after them, which is how their absence is known.
    """

    def __init__(self, connection: Connection, subjects: Subjects, *, max_body: int) -> None:
        self._connection = connection
        self._subjects = subjects
        self._max_body = max_body
        self._probe = connection.branch(PROBE, self._nobody)
        self._batches: dict[str, set[int]] = {}
        self._number = 0

    async def publish(self, posts: Sequence[Post]) -> Sequence[Receipt]:
        """Send messages in order; returns once the server has them, or has told that it takes none.

        Raises ConnectionFailed when none of them was sent.
        """
        client = await self._connection.ready()
        most = client.max_payload
        batch = str(self._number)
        self._number += 1
        nobody = self._batches[batch] = set()
        probe = f"{self._probe}.{batch}."
        refused: dict[int, Receipt] = {}
        sent = 0
        try:
            for index, post in enumerate(posts):
                message = post.message
                if post.due is not None:
                    refused[index] = Receipt(message.id, error=CapabilityError("NATS keeps no message for later"))
                    continue
                try:
                    headers = headers_of(post)
                except CodecError as error:
                    refused[index] = Receipt(message.id, error=error)
                    continue
                if len(message.body) > self._max_body or size(headers) + len(message.body) > most:
                    refused[index] = Receipt(
                        message.id,
                        error=MessageTooLarge(
                            f"the body has {len(message.body)} bytes; {self._max_body} are the most here"
                        ),
                    )
                    continue
                sent += 1
                await client.publish(self._subjects.of(message.channel), message.body, f"{probe}{index}", headers)
                check_cancelled()
            if sent:
                await self._connection.barrier()
        except (errors.Error, OSError, ConnectionFailed) as error:
            if sent <= 1 and len(posts) == 1:
                unknown = PublishTimeout(
                    f"the connection was lost, and the message may or may not have been sent: {error}"
                )
            else:
                unknown = PublishTimeout(
                    f"the connection was lost, and messages may or may not have been sent: {error}"
                )
            return [refused.get(index) or Receipt(post.message.id, error=unknown) for index, post in enumerate(posts)]
        finally:
            del self._batches[batch]
        return [
            refused.get(index) or Receipt(post.message.id, routed=index not in nobody)
            for index, post in enumerate(posts)
        ]

    def _nobody(self, received: Msg) -> None:
        if not is_nobody(received):
            return  # somebody took the reply subject for a request's
        batch, _, index = received.subject[len(self._probe) + 1 :].partition(".")
        nobody = self._batches.get(batch)
        if nobody is not None and index.isdigit():
            nobody.add(int(index))


def is_nobody(received: Msg) -> bool:
    """Whether the server says that nobody is subscribed to what was sent."""
    return not received.data and received.headers is not None and received.headers.get("Status") == NOBODY
