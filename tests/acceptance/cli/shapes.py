"""The lines of JSON that the command line promises, with no field more or less."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType


class Line(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    pass


class Receipt(Line):
    id: str
    routed: bool | None
    receivers: int | None


class Message(Line):
    id: str
    channel: str
    group: str | None
    key: str | None
    headers: dict[str, str]
    time: datetime
    attempt: int
    body: Any = UNSET
    body_base64: str | UnsetType = UNSET


class Attempt(Line):
    time: datetime
    error: str
    traceback: str


class Edit(Line):
    time: datetime
    by: str
    headers: dict[str, str]
    content_type: str | None
    body: Any = UNSET
    body_base64: str | UnsetType = UNSET


class Letter(Line):
    id: str
    message_id: str
    channel: str
    group: str | None
    reason: str
    parked: datetime
    attempts: list[Attempt]
    cause: str | UnsetType = UNSET
    headers: dict[str, str] | UnsetType = UNSET
    redriven: datetime | UnsetType = UNSET
    edits: list[Edit] | UnsetType = UNSET
    past: list[Letter] | UnsetType = UNSET
    body: Any = UNSET
    body_base64: str | UnsetType = UNSET


class Cause(Line):
    reason: str
    channel: str
    group: str | None
    cause: str
    count: int
    oldest: datetime
    newest: datetime
    example: str


class Redriven(Line):
    id: str
    message_id: str | None
    receivers: int | None
    error: str | None
    to: list[str] | UnsetType = UNSET
    became: str | UnsetType = UNSET


class Discarded(Line):
    discarded: int


class Answer(Line):
    body: Any = UNSET
    body_base64: str | UnsetType = UNSET


class Group(Line):
    channel: str
    group: str
    ready: int
    waiting: int
    leased: int
    members: int
    oldest: datetime | None


class Removed(Line):
    channel: str
    group: str
    backlog: int
    discarded: bool


class Finding(Line):
    level: str
    text: str


class Examination(Line):
    url: str
    connected: bool
    error: str | None
    findings: list[Finding]
    capabilities: dict[str, Any] | None


class RunningBus(Line, tag_field="event", tag="running"):
    bus: str
    handlers: list[str]
    process: int | UnsetType = UNSET


class Unfinished(Line):
    handler: str
    channel: str
    message_id: str
    seconds: float


class Drained(Line, tag_field="event", tag="drained"):
    bus: str
    seconds: float
    handlers: dict[str, dict[str, int]]
    unfinished: list[Unfinished]
    process: int | UnsetType = UNSET


class Planned(Line):
    bus: str
    who: str
    need: str
    verdict: str
    reason: str
    way_out: str | None
    stops: bool


class Serving(Line):
    address: str
