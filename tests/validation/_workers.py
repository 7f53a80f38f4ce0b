"""Processes among which the worlds of a measurement are spread: worlds are independent, so no answer changes."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from inspect import signature
from multiprocessing import get_context
from types import TracebackType
from typing import Any, Self, TypeVar

from tests.validation import Row, Size

Answer = TypeVar("Answer")


class Workers:
    """So many processes; with one, the work is done here."""

    def __init__(self, jobs: int = 1) -> None:
        # A fork of a process that has threads may hang.
        self._pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) if jobs > 1 else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def each(self, work: Callable[..., Answer], tasks: Sequence[tuple[Any, ...]]) -> list[Answer]:
        """Do a module's function for the arguments of each task; give the answers in the order of the tasks."""
        if self._pool is None:
            return [work(*task) for task in tasks]
        return [future.result() for future in [self._pool.submit(work, *task) for task in tasks]]


def measure(name: str, size: Size, jobs: int = 1) -> tuple[str, list[Row], float]:
    """Let a module measure; give its name, what it found and the seconds that it took."""
    begun = time.monotonic()
    work = import_module(f"tests.validation.{name}").measure
    rows: list[Row] = work(size, jobs) if "jobs" in signature(work).parameters else work(size)
    return name, rows, time.monotonic() - begun
