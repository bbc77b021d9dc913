"""Where a transport's connections lead to, and whether they do."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import ssl
from contextlib import suppress
from typing import Any, Protocol, cast

import hiredis
from redis.asyncio.connection import Connection, SSLConnection
from redis.exceptions import NoPermissionError, RedisError, ResponseError

from pabal.model.address import Address
from pabal.model.errors import ConnectionFailed
from pabal.transports.redis.options import ServerOptions, check_files, database, hosts

log = logging.getLogger("pabal.redis")

BROKEN = (OSError, RedisError, hiredis.HiredisError, TimeoutError)
"""What connecting, reading and writing may raise."""

_FAREWELL = 2.0
_HUNG_UP = {os.strerror(errno.ECONNRESET), "Connection lost", "Connection closed by server."}


class Wire(Protocol):
    """A connection of the client library, with its two ends."""

    @property
    def reader(self) -> asyncio.StreamReader: ...
    @property
    def writer(self) -> asyncio.StreamWriter: ...
    async def connect(self) -> None: ...
    async def send_command(self, *words: str) -> None: ...
    async def read_response(self) -> Any: ...
    async def disconnect(self, *, nowait: bool) -> None: ...


class _Ends:
    """Hands out both ends: one task reads them for many who wait, which the library's own methods cannot."""

    _reader: asyncio.StreamReader
    _writer: asyncio.StreamWriter

    @property
    def reader(self) -> asyncio.StreamReader:
        return self._reader

    @property
    def writer(self) -> asyncio.StreamWriter:
        return self._writer


class _Plain(_Ends, Connection):  # type: ignore[misc]  # the ends are there once it is connected
    pass


class _Encrypted(_Ends, SSLConnection):  # type: ignore[misc]
    pass


class HangsUp(Protocol):
    """What has a connection, and can give it up."""

    def hang_up(self, why: str) -> None: ...


class Server:
    """Makes connections, and logs an outage once, however many of them it breaks."""

    def __init__(self, address: Address, options: ServerOptions) -> None:
        self.address = address
        self.options = options
        self._hosts = hosts(address)
        self._lines: set[HangsUp] = set()
        self._broken: set[object] = set()
        self._told = ""

    def __str__(self) -> str:
        return str(self.address)

    async def connect(self) -> Wire:
        """A new connection to the first host that takes us and can be written to.

        Raises ConfigurationError for certificates that cannot be used, and ConnectionFailed.
        """
        check_files(self.options)
        failures = []
        for host, port in self._hosts:
            wire = self._wire(host, port)
            try:
                async with asyncio.timeout(self.options.connect_timeout):
                    await wire.connect()
                    await _greet(wire)
            except BROKEN as error:
                await hang_up(wire)
                where = "" if len(self._hosts) == 1 else f"{host}:{port}: "
                failures.append(where + self._why(error))
            except BaseException:
                await hang_up(wire)
                raise
            else:
                return wire
        raise ConnectionFailed(f"{self}: {'; '.join(failures)}")

    def serves(self, line: HangsUp) -> None:
        """This one has its connections from here."""
        self._lines.add(line)

    def forget(self, line: HangsUp) -> None:
        """This one needs none any more."""
        self._lines.discard(line)
        self.back(line)

    def demoted(self) -> None:
        """Leave a server that has become a replica: readers there would not be counted where it is published now."""
        for line in tuple(self._lines):
            line.hang_up("it has become a replica, which takes no writes")

    def lost(self, line: object, why: str) -> None:
        """This one has no connection any more."""
        if not self._broken:
            log.warning("%s: the connection was lost, trying to get it back: %s", self, why)
            self._told = why
        self._broken.add(line)

    def still_lost(self, why: str) -> None:
        """It was tried again in vain."""
        if why != self._told:
            log.warning("%s", why)
            self._told = why

    def back(self, line: object) -> None:
        """This one has a connection again."""
        if line in self._broken:
            self._broken.discard(line)
            if not self._broken:
                log.info("%s: connected again", self)

    def _wire(self, host: str, port: int) -> Wire:
        options = self.options
        common: dict[str, Any] = {
            "host": host,
            "port": port,
            "db": database(self.address),
            "username": self.address.username or None,
            "password": self.address.password,
            "protocol": 2,
            "socket_timeout": None,
            "socket_connect_timeout": options.connect_timeout,
        }
        if not options.tls:
            return cast(Wire, _Plain(**common))
        return cast(
            Wire,
            _Encrypted(
                **common,
                ssl_ca_certs=options.ca or None,
                ssl_certfile=options.certificate or None,
                ssl_keyfile=options.private_key or None,
            ),
        )

    def _why(self, error: BaseException) -> str:
        if isinstance(error, TimeoutError) or "Timeout connecting" in str(error):
            return f"no answer within {self.options.connect_timeout:g} s"
        text = text_of(error)
        if not self.options.tls and text in _HUNG_UP:
            return f"{text} as it was greeted; does it want tls=true?"
        return text


async def hang_up(wire: Wire) -> None:
    """Close a connection of the client library."""
    with suppress(*BROKEN):
        async with asyncio.timeout(_FAREWELL):
            await wire.disconnect(nowait=True)


def text_of(error: BaseException) -> str:
    """An error of the client library, or of the server, as one line: what the system says, where that is behind it."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    if isinstance(cause, OSError):
        named = isinstance(cause, ssl.SSLError | socket.gaierror) or not cause.errno
        error = OSError(cause.strerror or cause) if named else OSError(os.strerror(cause.errno or 0))
    return " ".join(str(error).split()) or type(error).__name__


async def _greet(wire: Wire) -> None:
    """Make sure that the server takes writes, as far as it tells."""
    try:
        await wire.send_command("ROLE")
        role = (await wire.read_response())[0]
    except NoPermissionError:
        return
    except ResponseError as error:
        if "unknown command" in str(error).lower():
            return
        raise
    if role == b"slave":
        raise ConnectionError("it is a replica, which takes no writes")
    if role == b"sentinel":
        raise ConnectionError("it is a Sentinel; give the hosts of its servers instead")
