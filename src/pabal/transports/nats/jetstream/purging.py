"""Removing from a stream what every group that takes it has handled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pabal.transports.nats.jetstream.api import Api
from pabal.transports.nats.jetstream.consumers import Consumers, overlaps
from pabal.transports.nats.jetstream.names import covers
from pabal.transports.nats.jetstream.removing import Removing
from pabal.transports.nats.jetstream.streams import Stream, Streams

Info = dict[str, Any]


class Purging:
    """Purges by subject, up to the lowest position that all consumers of that subject have acknowledged.

    What no group takes is never purged: a group that begins at the oldest is to find it.
    """

    def __init__(self, api: Api, streams: Streams, consumers: Consumers, removing: Removing) -> None:
        self._api = api
        self._removing = removing
        self._streams = streams
        self._consumers = consumers
        self._purged: dict[tuple[str, str], int] = {}

    async def purge(self, stream: Stream) -> None:
        """Purge one stream, if it is one that pabal made."""
        if not stream.ours:
            return
        consumers = await self._consumers.of_stream(stream.name)
        for taken in dict.fromkeys(each for info in consumers if _is_group(info) for each in filters(info)):
            touching = [info for info in consumers if overlaps(info["config"], taken)]
            if all(_takes_all(info, taken) for info in touching):
                await self._purge(stream, taken, touching)
                continue
            # Some take only a part of it: each channel has a floor of its own.
            for subject in await self._subjects(stream, taken):
                await self._purge(stream, subject, [info for info in touching if overlaps(info["config"], subject)])

    async def purge_left(self, stream: Stream, taken: str) -> None:
        """Purge what only a group took that was removed, so that the next of its name begins anew."""
        if not stream.ours:
            return
        last = await self._streams.last(stream)
        others = [info for info in await self._consumers.of_stream(stream.name) if _is_group(info)]
        for subject in [taken] if not others else await self._subjects(stream, taken):
            if not any(overlaps(info["config"], subject) for info in others):
                await self._removing.remove(stream.name, subject, upto=last)

    async def _purge(self, stream: Stream, subject: str, takers: Sequence[Info]) -> None:
        floor = min(info["ack_floor"]["stream_seq"] for info in takers)
        before = self._purged.get((stream.name, subject), 0)
        if floor == before:
            return
        await self._removing.remove(stream.name, subject, upto=floor, after=before if before < floor else 0)
        self._purged[stream.name, subject] = floor

    async def _subjects(self, stream: Stream, pattern: str) -> list[str]:
        found: list[str] = []
        while True:
            answer = await self._api.ask(
                f"STREAM.INFO.{stream.name}", {"subjects_filter": pattern, "offset": len(found)}
            )
            page = answer["state"].get("subjects") or {}
            found += page
            if not page or len(found) >= answer.get("total", 0):
                return found


def filters(info: Info) -> list[str]:
    """What a consumer takes of its stream."""
    config = info["config"]
    return list(config.get("filter_subjects") or [config.get("filter_subject") or ">"])


def _is_group(info: Info) -> bool:
    config = info["config"]
    return bool(config.get("durable_name")) and config.get("ack_policy") != "none"


def _takes_all(info: Info, taken: str) -> bool:
    return any(covers(each, taken) for each in filters(info))
