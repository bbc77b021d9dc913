"""Who is given what is taken."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from pabal.messagebox.routing import PRIVATE
from pabal.model.transport import Delivery


class Reader:
    """A subscription as the thread knows it.

    `credit` is how many more deliveries it may be given; ``deliver`` is called with them in the event loop.
    """

    __slots__ = ("credit", "deliver", "group", "grp", "name", "source")

    def __init__(self, source: str, group: str | None, deliver: Callable[[list[Delivery]], object]) -> None:
        self.source = source
        self.group = group
        self.name = PRIVATE + secrets.token_hex(8) if group is None else group
        self.grp = 0
        self.credit = 0
        self.deliver = deliver
