"""A scenario: what is done to whom, how often, and what has to have been seen; and how it is played."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Literal

from tests.faults.account import Account
from tests.faults.scene import Scene
from tests.faults.subject import NotRun, Setting, Subject


@dataclass(frozen=True)
class Scenario:
    """One way to do harm.

    Attributes:
        name: for the command line and the table.
        what: what is done, in a line.
        play: does it so many times, to a scene in which nobody plays yet; the account is made afterwards.
        full: how often `make faults` does it; `make test` does it once.
        lasting: for how many seconds at least each trouble lasts in `make faults`.
        ordered: whether the workers' group is.
        least: what has to have been seen for each time, by its name in the account; so that nothing passes that never
            happened.
        subject: the name of the one subject that it is for; None: it is played with any.
        setting: sets that subject up as it has to be; None: as always.
        wants: what of its subject it does harm to; those that have none are left alone.
        needs: the name by which WITHOUT leaves it out.
    """

    name: str
    what: str
    play: Callable[[Scene, int], Awaitable[None]]
    full: int
    lasting: float = 0.0
    ordered: bool = False
    least: Mapping[str, int] = field(default_factory=dict)
    subject: str | None = None
    setting: Setting | None = None
    wants: Literal["server", "proxy"] | None = None
    needs: str | None = None

    def fits(self, subject: Subject) -> bool:
        """Whether the subject has what this does harm to, and can do what is asked of it."""
        return (self.wants is None or getattr(subject, self.wants) is not None) and (subject.orders or not self.ordered)


class Broken(Exception):
    """Something is lost or unexplained; the text says what, and where the ledger and the logs are."""

    def __init__(self, account: Account, folder: Path) -> None:
        told = [*(f"{id} is lost" for id in account.lost), *account.unexplained]
        more = [f"and {len(told) - 10} more"] if len(told) > 10 else []
        super().__init__("\n".join([*told[:10], *more, f"see {folder}"]))
        self.account = account


async def perform(
    scenario: Scenario, setting: Setting, *, times: int, seed: str, lasting: float = 0.0
) -> Account | None:
    """Play it and judge; None: it does not fit the subject. Raises NotRun, Broken, and AssertionError.

    Each trouble that it makes lasts for so many seconds at least (`lasting`).
    When something is wrong, the folder with the ledger, the logs and the box stays.
    """
    started = time.monotonic()
    with folder_that_stays() as folder, (scenario.setting or setting)(folder) as subject:
        if not scenario.fits(subject):
            return None
        place = subject.behind_proxy() if scenario.wants == "proxy" else subject
        scene = Scene(place, folder, seed=f"{seed} {scenario.name}", ordered=scenario.ordered, lasting=lasting)
        try:
            await scenario.play(scene, times)
            account = await scene.end()
        except BaseException as error:
            error.add_note(f"see {folder}")
            raise
        finally:
            await scene.close()
        account.seconds = time.monotonic() - started
        for name, number in scenario.least.items():
            if (seen := account.number(name)) < times * number:
                account.unexplained.append(f"{name}: {seen}, where at least {times * number} had to be")
        if not account.fine:
            raise Broken(account, folder)
        return account


@contextmanager
def folder_that_stays() -> Iterator[Path]:
    """A new folder, removed unless something goes wrong in it."""
    folder = Path(mkdtemp(prefix="pabal-faults-"))
    try:
        yield folder
    except NotRun:
        rmtree(folder)
        raise
    rmtree(folder)
