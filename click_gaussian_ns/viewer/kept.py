"""Values that are costly to make, kept as long as what they were made of stays the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Kept(Generic[T]):
    """The last value made. Not thread-safe: callers hold a lock."""

    def __init__(self) -> None:
        self._last: tuple[tuple[object, ...], T] | None = None

    def get(self, made_of: tuple[object, ...], make: Callable[[], T]) -> T:
        """The value for these very objects (compared by identity, so none of them may change in place)."""
        last = self._last
        if last is None or len(last[0]) != len(made_of) or any(a is not b for a, b in zip(last[0], made_of)):
            last = self._last = (made_of, make())
        return last[1]
