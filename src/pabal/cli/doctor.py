"""``pabal doctor``: whether a transport can be reached, how it is, and what it can do."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import msgspec
import typer

from pabal.cli.options import AsJson, Url, examples
from pabal.cli.printing import say, say_json
from pabal.cli.reach import opened
from pabal.model.address import Address
from pabal.model.capabilities import Capabilities, Order, Settles
from pabal.model.errors import ConnectionFailed
from pabal.model.transport import Examines, Finding

_MARKS = {"ok": "✓", "weak": "!", "bad": "✗"}
_WORDS = {
    "broadcast": "give every listening process its own copy",
    "groups": "share a channel's messages out among the members of a group",
    "durable": "keep messages and groups through a restart",
    "patterns": "subscribe to patterns",
    "counts_attempts": "count the attempts of a delivery",
    "counts_receivers": "tell how many receive a message",
    "detects_unrouted": "tell when nobody listens",
    "delays_retry": "keep the wait before a retry",
    "delays_publish": "delay a message",
    "requests": "carry requests and their answers",
    "enlists": "write in the application's own transaction",
    "parks": "keep dead letters",
    "administers": "list and remove groups",
    "examines": "tell what its server is and what weakens it",
    "replays": "begin at an earlier message",
    "keeps_history": "keep every failed attempt with its message",
}


class Examination(msgspec.Struct):
    """What the doctor found, as JSON."""

    url: str
    connected: bool
    error: str | None = None
    findings: Sequence[Finding] = ()
    capabilities: dict[str, Any] | None = None


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=examples("pabal doctor sqlite:///todo.db", "pabal doctor sqlite:///todo.db --json"))(doctor)


def doctor(url: Url, json: AsJson = False) -> None:
    """Examine a transport and tell what it can do.

    Fails when it cannot be reached or something is bad.
    """
    found, can = asyncio.run(_examine(url))
    if json:
        say_json(found)
    else:
        for line in _report(found, can):
            say(line)
    if not found.connected or any(finding.level == "bad" for finding in found.findings):
        raise typer.Exit(1)


async def _examine(url: str) -> tuple[Examination, Capabilities | None]:
    shown = str(Address(url))
    try:
        async with opened(url) as (transport, can):
            findings = await cast("Examines", transport).findings() if can.examines else ()
    except ConnectionFailed as error:
        return Examination(shown, connected=False, error=str(error)), None
    capabilities = msgspec.to_builtins(can)
    return Examination(shown, connected=True, findings=findings, capabilities=capabilities), can


def _report(found: Examination, can: Capabilities | None) -> list[str]:
    if can is None:
        return [f"✗ {found.url} is not connected: {found.error}"]
    lines = [f"✓ {found.url} is connected"]
    lines += [f"{_MARKS[finding.level]} {finding.level}: {finding.text}" for finding in found.findings]
    able, unable = _abilities(can)
    lines += ["it can", *(f"  {words}" for words in able)]
    if unable:
        lines += ["it cannot", *(f"  {words}" for words in unable)]
    return lines


def _abilities(can: Capabilities) -> tuple[list[str], list[str]]:
    able = [words for name, words in _WORDS.items() if getattr(can, name)]
    unable = [words for name, words in _WORDS.items() if not getattr(can, name)]
    if can.settles is Settles.NONE:
        unable.append("settle deliveries: a message may be lost")
    else:
        able.append("settle deliveries " + ("one by one" if can.settles is Settles.EACH else "up to a position"))
    if can.order is Order.NONE:
        unable.append("keep messages of one key in order")
    else:
        able.append("keep messages in order, " + ("key by key" if can.order is Order.KEY else "channel by channel"))
    if can.max_body is not None:
        able.append(f"take bodies of up to {can.max_body} bytes")
    return able, unable
