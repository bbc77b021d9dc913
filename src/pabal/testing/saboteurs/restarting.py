"""Saboteurs of durability: what is gone after a restart."""

from __future__ import annotations

from pabal.model.capabilities import Capabilities
from pabal.model.dead import LetterFilter
from pabal.model.transport import GroupId
from pabal.testing.saboteurs.saboteur import saboteur
from pabal.testing.saboteurs.tampering import TamperedTransport


class _Forgetting(TamperedTransport):
    """Forgets something when it is first opened after a restart."""

    async def open(self) -> Capabilities:
        """Less than before."""
        capabilities = await super().open()
        if self.shared.pop("restarted", False):
            await self.forget()
        return capabilities

    async def forget(self) -> None:
        """What a restart takes away."""
        raise NotImplementedError


@saboteur("backlog_outlives_a_restart", "delays_outlive_a_restart", "group_outlives_a_restart")
class ForgetsGroupsOnRestart(_Forgetting):
    """Forgets groups and their backlogs when everything restarts."""

    async def forget(self) -> None:
        """No groups."""
        for status in await self.inner.groups():
            await self.inner.remove(GroupId(status.source, status.name), discard=True)


@saboteur("dead_letters_outlive_a_restart")
class ForgetsLettersOnRestart(_Forgetting):
    """Forgets dead letters when everything restarts."""

    async def forget(self) -> None:
        """No letters."""
        await self.inner.discard([letter.id async for letter in self.inner.letters(LetterFilter())])
