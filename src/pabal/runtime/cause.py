"""What an attempt failed of, so that what fails for the same reason has the same cause."""

from __future__ import annotations

import os
import sysconfig
import traceback
from pathlib import Path
from types import FrameType

_LIBRARIES = tuple(sysconfig.get_path(name) + os.sep for name in ("stdlib", "purelib", "platlib"))


def cause_of(error: BaseException) -> str:
    """An exception's class, and where it was raised: ``ValueError at app/handlers.py:42 save``.

    The place is the innermost line of the application: what libraries do below it is their own affair. An
    application that is itself installed as a package is told from the libraries by the name of its first frame's.
    """
    frames = [(frame, line) for frame, line in traceback.walk_tb(error.__traceback__) if not _is_machinery(frame)]
    own = [(frame, line) for frame, line in frames if not frame.f_code.co_filename.startswith(_LIBRARIES)]
    own = own or [(frame, line) for frame, line in frames if _package(frame) == _package(frames[0][0])]
    name = type(error).__name__
    return f"{name} at {_place(*own[-1])}" if own else name


def _place(frame: FrameType, line: int) -> str:
    # From the folder that it was imported from, which is another on each machine.
    path = Path(frame.f_code.co_filename)
    depth = _module(frame).count(".") + (2 if path.name == "__init__.py" else 1)
    return f"{'/'.join(path.parts[-depth:])}:{line} {frame.f_code.co_name}"


def _is_machinery(frame: FrameType) -> bool:
    """Whether a frame is what calls handlers, or what imports modules; no application either way."""
    if frame.f_code.co_filename.startswith("<frozen "):
        return True
    package, _, rest = _module(frame).partition(".")
    return package == "asyncio" or (package == "pabal" and not rest.startswith("examples."))


def _package(frame: FrameType) -> str:
    return _module(frame).partition(".")[0]


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))
