"""From ``MODULE:BUS`` to the bus."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from pabal.bus import Bus
from pabal.model.errors import ConfigurationError, PabalError
from pabal.runtime.cause import cause_of


class ImportFailed(PabalError):
    """The user's module raised while it was imported."""


def find_bus(where: str) -> Bus:
    """The bus that ``MODULE:BUS`` names; modules are looked for in the current directory first.

    Raises ConfigurationError when there is none, ImportFailed when the module raises.
    """
    module_name, colon, path = where.partition(":")
    if not colon or not module_name or not path:
        raise ConfigurationError(f"{where!r} is no MODULE:BUS; write it as in todo.app:bus")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    module = _import(module_name)
    found: object = module
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            buses = sorted(name for name, value in vars(module).items() if isinstance(value, Bus))
            known = f"its buses are {', '.join(buses)}" if buses else "it has no bus"
            raise ConfigurationError(f"module {module_name} has no {path!r}; {known}") from None
    if not isinstance(found, Bus):
        raise ConfigurationError(f"{where} is no Bus, it is a {type(found).__name__}")
    return found


def _import(name: str) -> object:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise ConfigurationError(f"there is no module {error.name!r} in {Path.cwd()} or installed") from None
        raise ImportFailed(f"{name} cannot be imported: {error}{_place(error)}") from error
    except PabalError:
        raise
    except Exception as error:  # the module is the user's and may raise anything
        raise ImportFailed(f"{name} cannot be imported: {type(error).__name__}: {error}{_place(error)}") from error


def _place(error: Exception) -> str:
    """Where in the user's code; a SyntaxError says it itself."""
    place = cause_of(error).partition(" at ")[2]
    return f" ({place})" if place and not isinstance(error, SyntaxError) else ""
