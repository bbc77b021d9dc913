import asyncio
import threading
from collections.abc import Iterator

import pytest

from pabal.runtime.threads import Threads


@pytest.fixture
def threads() -> Iterator[Threads]:
    threads = Threads(2)
    yield threads
    threads.shutdown()


async def test_at_most_so_many_at_once(threads: Threads) -> None:
    """No more calls run at once than there are threads, and all of them run."""
    loop = asyncio.get_running_loop()
    both = threading.Barrier(2)
    names = [
        loop.run_in_executor(threads, lambda: (both.wait(10), threading.current_thread().name)[1]) for _ in range(4)
    ]
    assert len(set(await asyncio.gather(*names))) == 2


async def test_errors_come_back(threads: Threads) -> None:
    """What a call raises is raised where it is awaited."""
    with pytest.raises(ValueError, match="invalid literal"):
        await asyncio.get_running_loop().run_in_executor(threads, int, "x")


def test_threads_do_not_keep_the_process(threads: Threads) -> None:
    """A call that never ends does not keep the process from ending."""
    assert threads.submit(lambda: threading.current_thread().daemon).result() is True


def test_cancelled_before_it_began(threads: Threads) -> None:
    """A call that is called off before a thread was free is not made."""
    free = threading.Event()
    for _ in range(2):
        threads.submit(free.wait, 10)
    called: list[int] = []
    late = threads.submit(called.append, 1)
    assert late.cancel()
    free.set()
    assert threads.submit(lambda: 7).result(10) == 7
    assert called == []
