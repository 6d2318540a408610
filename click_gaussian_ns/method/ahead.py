"""What a step needs of the CPU, made by a thread while the GPU is busy with the step before."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Made = TypeVar("Made")


class Ahead(Generic[Made]):
    """One step ahead of whoever takes the steps in order; a step that was not foreseen is made when it is asked for."""

    def __init__(self, make: Callable[[int], Made], last_step: int) -> None:
        """`make` gets a step's number and depends on nothing else. No step after `last_step` is made."""
        self._make, self._last_step = make, last_step
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="step-ahead")
        self._pending: tuple[int, Future[Made]] | None = None

    def wait(self, step: int) -> None:
        """Until the step's is made. What went wrong is told by `take`."""
        self._asked(step).exception()

    def take(self, step: int) -> Made:
        """The step's, and the next one's begins."""
        made = self._asked(step).result()
        self._pending = None
        if step < self._last_step:
            self._asked(step + 1)
        return made

    def _asked(self, step: int) -> Future[Made]:
        if self._pending is None or self._pending[0] != step:
            self._pending = step, self._thread.submit(self._make, step)
        return self._pending[1]
