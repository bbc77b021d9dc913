"""Running parts of a benchmark in processes of their own, fresh for each round."""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.synchronize import Barrier
from typing import Any, Generic, TypeVar

T = TypeVar("T")

Ready = Callable[[], object]
"""Called by a part when it is set up; returns when all parts are."""

_PATIENCE = 300.0
_spawning = multiprocessing.get_context("spawn")


def alone(part: Callable[[], T]) -> T:
    """The result of `part`, run in a process of its own. It must be picklable: a function, or a partial of one."""
    return together(_Unready(part))[0]


def together(*parts: Callable[[Ready], T]) -> list[T]:
    """The results of `parts`, each run in a process of its own; raises RuntimeError when one of them fails."""
    barrier = _spawning.Barrier(len(parts))
    processes, ends = [], []
    try:
        for part in parts:
            here, there = _spawning.Pipe(duplex=False)
            process = _spawning.Process(target=_run, args=(there, barrier, part), daemon=True)
            process.start()
            there.close()
            processes.append(process)
            ends.append(here)
        return _results(ends)
    finally:
        for process in processes:
            process.join(1.0)
            process.kill()
            process.join()
        for end in ends:
            end.close()


class _Unready(Generic[T]):
    def __init__(self, part: Callable[[], T]) -> None:
        self._part = part

    def __call__(self, _: Ready) -> T:
        return self._part()


def _run(answer: Connection, barrier: Barrier, part: Callable[[Ready], object]) -> None:
    try:
        result = part(lambda: barrier.wait(_PATIENCE))
    except BaseException:  # noqa: BLE001 - whatever it is, the one who waits for the result gets it
        barrier.abort()
        answer.send((None, traceback.format_exc()))
    else:
        answer.send((result, None))


def _results(ends: Sequence[Connection]) -> list[Any]:
    results: dict[Connection, object] = {}
    while len(results) < len(ends):
        answered = wait([end for end in ends if end not in results], _PATIENCE)
        if not answered:
            raise RuntimeError(f"a part of the benchmark has not ended within {_PATIENCE:g} s")
        for end in answered:
            assert isinstance(end, Connection)
            results[end] = _result(end)
    return [results[end] for end in ends]


def _result(end: Connection) -> object:
    try:
        result, failure = end.recv()
    except EOFError:
        raise RuntimeError("a part of the benchmark has died") from None
    if failure is not None:
        raise RuntimeError(f"a part of the benchmark failed:\n{failure}")
    return result
