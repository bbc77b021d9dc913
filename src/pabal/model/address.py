"""A transport's URL, taken apart; it never shows its password."""

from __future__ import annotations

import dataclasses
import re
import types
from collections.abc import Mapping
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints
from urllib.parse import parse_qsl, unquote, urlsplit

from pabal.model.errors import ConfigurationError

Options = TypeVar("Options")

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_SECRET = re.compile(r"(?i)([^?&=]*(?:pass|secret|token)[^?&=]*=)[^&#]*")
_TRUE, _FALSE = {"true", "yes", "on", "1"}, {"false", "no", "off", "0"}


class Address:
    """A parsed URL.

    `repr` and `str` show it with its password masked, so that it may stand in a log.
    """

    def __init__(self, url: str) -> None:
        if not isinstance(url, str):
            raise ConfigurationError(
                f"a {type(url).__name__} is no URL; a transport's URL looks like sqlite:///todo.db"
            )
        if "://" not in url:
            raise ConfigurationError(f"{_masked(url)!r} is no URL; a transport's URL looks like sqlite:///todo.db")
        try:
            parts = urlsplit(url)
            self.port = parts.port if "," not in parts.netloc else None
            query = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        except ValueError:  # its text may hold a piece of the password
            raise ConfigurationError(
                f"{_masked(url)!r} is no URL: check its host, port and options, and percent-encode the password"
            ) from None
        self.url = url
        self.scheme = parts.scheme
        self.netloc = parts.netloc.rpartition("@")[2]
        self.username = unquote(parts.username) if parts.username is not None else None
        self.password = unquote(parts.password) if parts.password is not None else None
        self.path = unquote(parts.path)
        self.query: Mapping[str, str] = dict(query)
        if len(self.query) != len(query):
            raise ConfigurationError(f"{self} gives an option twice")

    def options(self, into: type[Options]) -> Options:
        """The query's parameters as the frozen dataclass `into`.

        Raises ConfigurationError for an unknown option (it lists the known ones) and for a value of another type.
        """
        fields = {field.name: field for field in dataclasses.fields(into)}  # type: ignore[arg-type]  # any dataclass
        hints = get_type_hints(into)
        values: dict[str, object] = {}
        for name, text in self.query.items():
            if name not in fields:
                known = ", ".join(sorted(fields)) or "none"
                raise ConfigurationError(f"{self.scheme}:// has no option {name!r}; its options are: {known}")
            try:
                values[name] = _convert(text, hints[name])
            except ValueError:
                raise ConfigurationError(
                    f"option {name}={text!r} of {self.scheme}:// is no {_type_name(hints[name])}"
                ) from None
        return into(**values)

    def __str__(self) -> str:
        return _masked(self.url)

    def __repr__(self) -> str:
        return f"Address({_masked(self.url)!r})"


def _masked(url: str) -> str:
    """`url` without what may be secret, whatever it looks like: a password that nobody encoded, a lone token."""
    scheme = match.group() if (match := _SCHEME.match(url)) else ""
    userinfo, at, rest = url[len(scheme) :].rpartition("@")
    user, colon, _ = userinfo.partition(":")
    shown = f"{user}:***" if colon else "***"
    return scheme + (shown + at if at else "") + _SECRET.sub(r"\1***", rest)


def _plain_type(hint: Any) -> Any:
    if get_origin(hint) in (Union, types.UnionType):
        return next(arg for arg in get_args(hint) if arg is not type(None))
    return hint


def _type_name(hint: Any) -> str:
    plain = _plain_type(hint)
    return {bool: "true or false", float: "number", int: "whole number"}.get(
        plain, getattr(plain, "__name__", str(plain))
    )


def _convert(text: str, hint: Any) -> object:
    plain = _plain_type(hint)
    if plain is bool:
        if text.lower() not in _TRUE | _FALSE:
            raise ValueError(text)
        return text.lower() in _TRUE
    if plain is float:
        value = float(text)
        if not 0 <= value < float("inf"):
            raise ValueError(text)
        return value
    if plain is int:
        return int(text)
    if plain is str:
        return text
    raise TypeError(f"options are bool, int, float or str, not {hint}")
