"""A channel with the type of what it carries."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Generic, TypeVar

from pabal.model.names import check_channel

T = TypeVar("T")


class Channel(Generic[T]):
    """A channel's name and the type of its values, so that a type checker sees a wrong one.

    ``native`` reaches topology that pabal did not make, by transport: ``{"amqp": "queue=legacy"}``.
    Raises ConfigurationError for a bad name.
    """

    __slots__ = ("name", "native", "type")

    def __init__(self, name: str, type: type[T], *, native: Mapping[str, str] | None = None) -> None:
        self.name: str = check_channel(name)
        self.type = type
        self.native: Mapping[str, str] = MappingProxyType(dict(native or {}))

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"Channel({self.name!r}, {getattr(self.type, '__name__', self.type)})"
