"""Where the dead letters of a bus are kept that its transport does not keep."""

from __future__ import annotations

import re
from hashlib import blake2b
from pathlib import Path
from urllib.parse import quote

from platformdirs import user_state_path

from pabal.model.address import Address
from pabal.model.capabilities import Capabilities, Settles
from pabal.model.errors import ConfigurationError


def box_url(url: str, dead_letters: str | None, can: Capabilities) -> str | None:
    """The URL of the box: the one that was asked for, or a file of the user's where nobody else keeps them.

    None: the transport keeps them; or it settles, and they are published to a channel of it.
    """
    if dead_letters is not None:
        return dead_letters
    if can.parks or can.settles is not Settles.NONE:
        return None
    return f"sqlite:///{quote(str(_file(Address(url))))}"


def publishes_letters(can: Capabilities, *, box: bool) -> bool:
    """Whether dead letters are published to a channel of the same transport: it settles, and nobody keeps them."""
    return not box and not can.parks and can.groups and can.settles is not Settles.NONE


def shown(box: str | None) -> str | None:
    """A box's URL as it may be shown."""
    return None if box is None else str(Address(box))


def check_box(url: str, can: Capabilities) -> None:
    """Raise ConfigurationError for a box that keeps no dead letters."""
    if not can.parks:
        raise ConfigurationError(f"{Address(url)} keeps no dead letters; use a SQL box, as in sqlite:///dead.db")


def make_room(box: str) -> None:
    """Make the folder of a box in the user's state folder; raises ConfigurationError with the way out."""
    folder = _folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"there is no place for dead letters in {folder} ({error.strerror}); "
            f"give the bus another than {box}, as in dead_letters=sqlite:///dead.db"
        ) from error


def _folder() -> Path:
    return user_state_path("pabal") / "dead-letters"


def _file(address: Address) -> Path:
    """A file for each server and `prefix` on it, since letters go back there: told by what of the URL is no secret."""
    prefix = address.query.get("prefix")
    place = f"{address.scheme}://{address.netloc}{address.path}" + (f"?prefix={prefix}" if prefix else "")
    readable = re.sub(r"[^A-Za-z0-9.]+", "-", place).strip("-")[:60]
    return _folder() / f"{readable}-{blake2b(place.encode(), digest_size=4).hexdigest()}.db"
