"""Which promises a transport is asked to keep."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from _pytest.mark import ParameterSet

from pabal.model.capabilities import Capabilities
from pabal.testing import Subject, promises


async def declared(subject: Subject) -> Capabilities:
    """What the subject's transport declares."""
    transport = await subject.connect()
    try:
        return await transport.open()
    finally:
        await transport.aclose()


def asked(subject: Callable[[Path], Subject]) -> list[ParameterSet]:
    """The promises that a subject's transport makes by what it declares, by name; for `pytest.mark.parametrize`.

    `subject` makes a subject in an empty folder.
    """
    with TemporaryDirectory() as folder:
        capabilities = asyncio.run(declared(subject(Path(folder))))
    return [pytest.param(each, id=each.name) for each in promises(capabilities)]
