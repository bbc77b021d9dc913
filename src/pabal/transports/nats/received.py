"""What comes in: a message as it stands on the wire, its headers read when somebody asks for them."""

from __future__ import annotations

_VERSION = len("NATS/1.0")
STATUS = "Status"
"""The name under which the code of what the server says by itself stands among the headers."""
_NOBODY = "503"


class Received:
    """One message; `reply` is empty where there is none, `raw` the block of its headers."""

    __slots__ = ("_headers", "data", "raw", "reply", "subject")

    def __init__(self, subject: str, reply: str, data: bytes, raw: bytes | None) -> None:
        self.subject = subject
        self.reply = reply
        self.data = data
        self.raw = raw
        self._headers: dict[str, str] | None = None

    @property
    def headers(self) -> dict[str, str]:
        """The headers by their names."""
        if self._headers is None:
            self._headers = parse(self.raw) if self.raw else {}
        return self._headers


def is_nobody(received: Received) -> bool:
    """Whether the server says that nobody is subscribed to what was sent."""
    return not received.data and received.headers.get(STATUS) == _NOBODY


def parse(raw: bytes) -> dict[str, str]:
    """A block of headers; what is no line of one is passed over, broken UTF-8 is replaced."""
    first, *lines = raw.decode("utf-8", "replace").split("\r\n")
    headers: dict[str, str] = {}
    code = first[_VERSION:].strip()[:3]
    if code:
        headers[STATUS] = code
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip()] = value.strip()
    return headers
