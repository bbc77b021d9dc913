"""Which stream keeps a channel: the one that covers it, or one that pabal makes for its first token."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import msgspec

from pabal.model.errors import ConfigurationError
from pabal.transports.nats.jetstream.api import NANO, NO_STREAM, Api, ApiError
from pabal.transports.nats.jetstream.names import covers, stream_name
from pabal.transports.nats.jetstream.options import JetStreamOptions
from pabal.transports.nats.jetstream.weaknesses import weaknesses
from pabal.transports.nats.subjects import Subjects

log = logging.getLogger("pabal.nats")

MADE_BY_US = "made by pabal"
_FILES_GO = 1.0
_MOST_KNOWN = 10_000
"""Channels whose streams are remembered."""
_DUPLICATES = 120.0
"""Seconds for which a stream remembers the ids of messages, by which it tells one that comes twice."""


class Stream(msgspec.Struct, frozen=True):
    """A stream of the server's; `ours`: pabal made it, so pabal may purge it."""

    name: str
    subjects: tuple[str, ...]
    ours: bool


class Streams:
    """Finds streams, makes those that are missing, and remembers them."""

    def __init__(self, api: Api, options: JetStreamOptions, subjects: Subjects) -> None:
        self._api = api
        self._options = options
        self._subjects = subjects
        self._of: dict[str, Stream] = {}
        self._known: dict[str, Stream] = {}
        self._gone: set[str] = set()
        self._told: set[str] = set()

    @property
    def known(self) -> list[Stream]:
        """Those that were met so far."""
        return list(self._known.values())

    async def of(self, source: str) -> Stream:
        """The stream of a channel or pattern, made if need be; raises ConfigurationError when there can be none."""
        found = self._of.get(source)
        if found is None:
            subject = self._subjects.of(source)
            found = next((each for each in self._known.values() if covers_all(each, subject)), None)
            if found is None or self._options.stream:
                found = await self._find(subject)
            self._known[found.name] = found
            if len(self._of) >= _MOST_KNOWN:
                self._of.clear()
            self._of[source] = found
        return found

    async def existing(self, source: str) -> Stream | None:
        """The stream of a channel or pattern, if there is one."""
        subject = self._subjects.of(source)
        for name in [self._options.stream] if self._options.stream else await self.names(subject):
            info = await self.info(name)
            if info is not None and covers_all(stream := _stream(info["config"]), subject):
                return stream
        return None

    def forget(self, source: str) -> None:
        """Look again: the server says that no stream keeps this channel."""
        found = self._of.get(source)
        if found is not None:
            self._known.pop(found.name, None)
            self._gone.add(found.name)
            self._of = {name: stream for name, stream in self._of.items() if stream is not found}

    async def info(self, name: str) -> dict[str, Any] | None:
        """What the server says of a stream; None: there is none of that name."""
        try:
            return await self._api.ask(f"STREAM.INFO.{name}")
        except ApiError as error:
            if error.code == NO_STREAM:
                return None
            raise ConfigurationError(f"the stream {name!r} cannot be read: {error}") from error

    async def last(self, stream: Stream) -> int:
        """The position of the newest message that a stream ever had; one that was made anew begins at 0."""
        info = await self.info(stream.name)
        return 0 if info is None else int(info["state"]["last_seq"])

    async def configs(self) -> list[dict[str, Any]]:
        """How the streams are set up that keep something of what is published here; the named one, if one is."""
        if self._options.stream:
            info = await self.info(self._options.stream)
            return [] if info is None else [info["config"]]
        infos = [await self.info(name) for name in await self.names(self._subjects.of(">"))]
        return [info["config"] for info in infos if info is not None and _keeps_channels(info["config"])]

    def keeps(self, config: dict[str, Any], source: str) -> bool:
        """Whether a stream that is set up so keeps all of a channel or pattern."""
        return covers_all(_stream(config), self._subjects.of(source))

    async def names(self, subject: str | None = None) -> list[str]:
        """The names of all streams, or of those that have something of a subject or pattern."""
        found: list[str] = []
        while True:
            asked = {"offset": len(found)} | ({} if subject is None else {"subject": subject})
            answer = await self._api.ask("STREAM.NAMES", asked)
            page = answer.get("streams") or []
            found += page
            if not page or len(found) >= answer.get("total", 0):
                return found

    async def _find(self, subject: str) -> Stream:
        if self._options.stream:
            return await self._named(self._options.stream, subject)
        names = await self.names(subject)
        if not names:
            return await self._make(subject)
        if len(names) > 1:
            raise ConfigurationError(
                f"{subject!r} is in several streams ({', '.join(names)}); say which one is meant with ?stream="
            )
        return await self._named(names[0], subject)

    async def _named(self, name: str, subject: str) -> Stream:
        info = await self.info(name)
        if info is None:
            raise ConfigurationError(f"there is no stream {name!r}; make it, or leave out ?stream= to have one made")
        stream = self._checked(info["config"])
        if not covers_all(stream, subject):
            raise ConfigurationError(
                f"the stream {name!r} has the subjects {', '.join(stream.subjects)}, which do not cover {subject!r}"
            )
        return stream

    async def _make(self, subject: str) -> Stream:
        tokens = subject.split(".")
        first = tokens[: self._subjects.depth + 1]
        if first[-1] in ("*", ">"):
            raise ConfigurationError(
                f"no stream covers {subject!r}, and none can be made for a pattern that begins with a wildcard; "
                "name one with ?stream="
            )
        token = ".".join(first)
        config = self._config(stream_name(token), (token, f"{token}.>"))
        if config["name"] in self._gone:
            # NATS 2.9 says that a stream is deleted before its files are; those of a new one would go with them.
            await asyncio.sleep(_FILES_GO)
            self._gone.discard(config["name"])
        try:
            answer = await self._api.ask(f"STREAM.CREATE.{config['name']}", config)
        except ApiError as error:
            raise ConfigurationError(
                f"the stream {config['name']!r} with the subjects {token} and {token}.> cannot be made: {error}; "
                "make one that covers it yourself, or name one with ?stream="
            ) from error
        return self._checked(answer["config"])

    def _config(self, name: str, subjects: tuple[str, ...]) -> dict[str, Any]:
        options = self._options
        return {
            "name": name,
            "description": MADE_BY_US,
            "subjects": subjects,
            "retention": "limits",
            "discard": "new",
            "storage": options.storage,
            "num_replicas": options.replicas or 1,
            "max_age": round((options.max_age or 0) * NANO),
            "max_bytes": options.max_bytes or -1,
            "max_msgs": options.max_messages or -1,
            "duplicate_window": round(min(_DUPLICATES, options.max_age or _DUPLICATES) * NANO),
        }

    def _checked(self, config: dict[str, Any]) -> Stream:
        """A stream as it is there; raises ConfigurationError where the URL asks for another."""
        options = self._options
        asked: dict[str, object] = {"storage": options.storage}
        if options.replicas is not None:
            asked["num_replicas"] = options.replicas
        if options.max_age is not None:
            asked["max_age"] = round(options.max_age * NANO)
        if options.max_bytes is not None:
            asked["max_bytes"] = options.max_bytes
        if options.max_messages is not None:
            asked["max_msgs"] = options.max_messages
        for name, value in asked.items():
            if config.get(name) != value:
                raise ConfigurationError(
                    f"the stream {config['name']!r} has {name}={config.get(name)}, the URL asks for {name}={value}; "
                    "existing streams are not changed: change one of the two"
                )
        stream = _stream(config)
        if not stream.ours and stream.name not in self._told:
            self._told.add(stream.name)
            for weakness in weaknesses(config):
                log.warning("the stream %s %s", stream.name, weakness)
        return stream


def _stream(config: dict[str, Any]) -> Stream:
    ours = config.get("description") == MADE_BY_US and config.get("retention") == "limits"
    return Stream(config["name"], tuple(config.get("subjects") or ()), ours)


def _keeps_channels(config: dict[str, Any]) -> bool:
    """Whether a stream is none of those in which JetStream keeps its buckets."""
    return any(not subject.startswith("$") for subject in config.get("subjects") or ())


def covers_all(stream: Stream, subject: str) -> bool:
    """Whether a stream keeps all of a subject or pattern."""
    return any(covers(each, subject) for each in stream.subjects)
