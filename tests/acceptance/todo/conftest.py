from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.acceptance.todo.served import Client, client, serving


@pytest.fixture
async def address(tmp_path: Path) -> AsyncIterator[str]:
    async with serving(tmp_path) as address:
        yield address


@pytest.fixture
async def app(address: str) -> AsyncIterator[Client]:
    async with client(address) as app:
        yield app
