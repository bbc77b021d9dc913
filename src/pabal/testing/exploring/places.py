"""Where in the user's code something waits: file, line, and what stands there."""

from __future__ import annotations

import linecache
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pabal
from pabal.testing.exploring.process import Process

_PABAL = str(Path(pabal.__file__).parent)
_EXAMPLES = str(Path(_PABAL, "examples"))
_OTHERS = (*(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")), "<frozen")


def here(code: CodeType | None) -> str:
    """The innermost line of the user's in the running call; `code` is the function's to fall back to."""
    return _place(_outwards(sys._getframe(1)), code)  # noqa: SLF001 - documented, whatever its name


def there(suspended: object, code: CodeType | None) -> str:
    """The innermost line of the user's in a coroutine that waits."""
    return _place(reversed(list(_inwards(suspended))), code)


def _outwards(frame: FrameType | None) -> Iterator[tuple[CodeType, int]]:
    while frame is not None and frame.f_code is not Process.step.__code__:
        yield frame.f_code, frame.f_lineno
        frame = frame.f_back


def _inwards(waiting: Any) -> Iterator[tuple[CodeType, int]]:
    while waiting is not None:
        for kind, then in (("cr", "cr_await"), ("gi", "gi_yieldfrom"), ("ag", "ag_await")):
            frame = getattr(waiting, f"{kind}_frame", None)
            if frame is not None:
                yield frame.f_code, frame.f_lineno
                waiting = getattr(waiting, then)
                break
        else:
            return


def _place(frames: Iterable[tuple[CodeType, int]], wanted: CodeType | None) -> str:
    return next((_shown(code, line) for code, line in frames if code is wanted or _is_users(code.co_filename)), "")


def _is_users(filename: str) -> bool:
    if filename.startswith(_EXAMPLES):
        return True
    return not filename.startswith((_PABAL, *_OTHERS))


def _shown(code: CodeType, line: int) -> str:
    text = linecache.getline(code.co_filename, line).strip()
    return f"{Path(code.co_filename).name}:{line}{f': {text}' if text else ''}"
