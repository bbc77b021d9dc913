"""Every error that pabal raises, as one tree.

PabalError
├── ConfigurationError      a bad URL, option, name, header or handler signature
├── CapabilityError         a handler needs what its transport cannot keep
├── ConnectionFailed        the server or file cannot be reached, opened or written
├── CodecError              a value cannot be encoded, or a body not decoded to the wanted type
├── PublishError            not taken by the transport; ``receipts`` tell which messages failed
│   ├── PublishTimeout      no answer in time, or none any more: the outcome is unknown
│   ├── MessageTooLarge     a body above the transport's limit
│   └── Unrouted            nobody to take it, and the bus says ``unrouted="raise"``
└── RequestError
    ├── NoResponders        nobody is there to answer
    ├── RequestTimeout      no answer in time
    └── RequestFailed       the answering handler failed; ``type`` and ``message`` tell how
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pabal.model.transport import Receipt


class PabalError(Exception):
    """The root of all errors that pabal raises."""


class ConfigurationError(PabalError):
    """Something written by the user is wrong; the text says what is allowed."""


class CapabilityError(PabalError):
    """A handler or call needs what its transport cannot do; the text says the way out."""


class ConnectionFailed(PabalError):
    """A server cannot be reached, or a file not opened, read or written."""


class CodecError(PabalError):
    """A value cannot be encoded, or a body cannot be decoded to the wanted type."""


class PublishError(PabalError):
    """The transport did not take every message.

    ``receipts`` has one receipt a message, in the order of publishing; a failed one has its ``error`` set.
    """

    def __init__(self, text: str, *, receipts: Sequence[Receipt] = ()) -> None:
        super().__init__(text)
        self.receipts: tuple[Receipt, ...] = tuple(receipts)


class PublishTimeout(PublishError):
    """The transport gave no answer in time, or its connection broke before: the messages may or may not be taken."""


class MessageTooLarge(PublishError):
    """A body is larger than the transport takes."""


class Unrouted(PublishError):
    """No group and no listener takes the channel, and the bus was told to raise then."""


class RequestError(PabalError):
    """A request got no result."""


class NoResponders(RequestError):
    """Nobody is there who could answer."""


class RequestTimeout(RequestError):
    """No answer came in time; the request has expired."""


class RequestFailed(RequestError):
    """The handler that took the request failed.

    ``type`` is the name of its exception's class, ``message`` the exception's text.
    """

    def __init__(self, type: str, message: str) -> None:
        super().__init__(f"{type}: {message}")
        self.type = type
        self.message = message

    def __reduce__(self) -> tuple[Callable[[str, str], RequestFailed], tuple[str, str]]:
        return RequestFailed, (self.type, self.message)
