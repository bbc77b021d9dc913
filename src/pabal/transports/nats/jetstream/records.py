"""What the server does not know of a message that comes again: its failures, and how often it was given back.

A record stands in the bucket `pabal-failures` for each message of a group that was handed out and not ended; it is
written before the message goes back and removed once it is ended.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Iterable, Sequence

import msgspec
from msgspec.structs import replace

from pabal.model.errors import ConfigurationError, PabalError
from pabal.model.outcome import Failure
from pabal.transports.nats.jetstream.api import NANO, NO_MESSAGE, Answer, Api, ApiError
from pabal.transports.nats.jetstream.stored import Stored, Storing

BUCKET = "pabal-failures"
STREAM = f"KV_{BUCKET}"
_SUBJECTS = f"$KV.{BUCKET}"
_KEPT_FOR = 90 * 24 * 3600
"""Seconds after which a record goes whose message has long left its stream."""
_MOST = 256 * 1024
"""Bytes of a record, where the server takes as many."""
_TEXT = 100
"""Characters that are left of a text that is cut off."""
_DIGITS = len(str(2**63))
_NO_HEADERS = b"NATS/1.0\r\n\r\n"


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message of one group.

    Attributes:
        id: the message's; a position may be another message's after its stream was made anew.
        released: how often it was given back, which was no attempt.
        failures: the failed attempts.
        due: when it comes again, in seconds since the epoch; 0: at once.
    """

    id: str
    released: int = 0
    failures: tuple[Failure, ...] = ()
    due: float = 0.0


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Record).decode


class Records:
    """The bucket; a record's key is the stream, the consumer and the message's position."""

    def __init__(self, api: Api, storing: Storing, *, replicas: int, storage: str) -> None:
        self._api = api
        self._storing = storing
        self._replicas = replicas
        self._storage = storage
        self._made = False

    async def make(self) -> None:
        """See to it that there is a bucket; an existing one stays as it is."""
        if self._made:
            return
        if not await self._exists():
            config = {
                "name": STREAM,
                "description": "pabal: failed attempts of messages that are not ended yet",
                "subjects": [f"{_SUBJECTS}.>"],
                "retention": "limits",
                "discard": "new",
                "storage": self._storage,
                "num_replicas": self._replicas,
                "max_msgs_per_subject": 1,
                "max_age": _KEPT_FOR * NANO,
                "allow_rollup_hdrs": True,
            }
            try:
                await self._api.ask(f"STREAM.CREATE.{STREAM}", config)
            except ApiError as error:
                if not await self._exists():  # or another process was first
                    raise ConfigurationError(f"the bucket {BUCKET!r} cannot be made: {error}") from error
        self._made = True

    async def put(self, records: Sequence[tuple[str, Record]]) -> list[bool]:
        """Write records; returns for each whether the server has it now."""
        most = min(_MOST, self._storing.room - len(_NO_HEADERS))
        messages = [(f"{_SUBJECTS}.{key}", _NO_HEADERS, _fitting(record, most)) for key, record in records]
        return [isinstance(outcome, Stored) for outcome in await self._storing.store(messages)]

    def get(self, key: str, take: Callable[[Record | PabalError | None], None]) -> None:
        """Look up a record; `take` gets it, or None where there is none, or why that is not known."""

        def taken(answer: Answer | PabalError) -> None:
            if isinstance(answer, ApiError) and answer.code == NO_MESSAGE:
                take(None)
            elif isinstance(answer, PabalError):
                take(answer)
            else:
                take(_of(answer))

        self._api.send(f"STREAM.MSG.GET.{STREAM}", {"last_by_subj": f"{_SUBJECTS}.{key}"}, taken)

    async def of_group(self, group: str) -> list[tuple[int, Record]]:
        """All records of a group, whose key it is that the records' begin with; each with its message's position."""
        found: list[tuple[int, Record]] = []
        after = 0
        while True:
            try:
                answer = await self._api.ask(
                    f"STREAM.MSG.GET.{STREAM}", {"seq": after + 1, "next_by_subj": f"{_SUBJECTS}.{group}.*"}
                )
            except ApiError as error:
                if error.code == NO_MESSAGE:
                    return found
                raise
            after = answer["message"]["seq"]
            position, record = answer["message"]["subject"].rpartition(".")[2], _of(answer)
            if record is not None and position.isdecimal() and len(position) < _DIGITS:
                found.append((int(position), record))

    def end(self, keys: Iterable[str]) -> None:
        """Remove records; ``*`` as the position: all of a group."""
        for key in keys:
            self._api.tell(f"STREAM.PURGE.{STREAM}", {"filter": f"{_SUBJECTS}.{key}"})

    async def _exists(self) -> bool:
        try:
            await self._api.ask(f"STREAM.INFO.{STREAM}")
        except ApiError:
            return False
        return True


def _fitting(record: Record, most: int) -> bytes:
    """A record as it is written: where it is too large, tracebacks are left out, then texts cut off, oldest first."""
    written = _encode(record)
    for cut in (_without_traceback, _cut_off, _without_text):
        for index in range(len(record.failures)):
            if len(written) <= most:
                return written
            failures = list(record.failures)
            failures[index] = cut(failures[index])
            record = replace(record, failures=tuple(failures))
            written = _encode(record)
    return written


def _without_traceback(failure: Failure) -> Failure:
    return replace(failure, traceback="")


def _cut_off(failure: Failure) -> Failure:
    return replace(failure, error=failure.error[:_TEXT], cause=failure.cause[:_TEXT])


def _without_text(failure: Failure) -> Failure:
    return replace(failure, error="", cause="")


def _of(answer: Answer) -> Record | None:
    """The record that was looked up; None where somebody else wrote there, or took it out."""
    try:
        return _decode(b64decode(answer["message"].get("data", "")))
    except msgspec.DecodeError:
        return None
