"""Unlimited undo and redo of immutable states."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class History(Generic[T]):
    """States that were, the one that is, and those that were undone."""

    present: T
    past: tuple[T, ...] = ()
    """Oldest first."""
    future: tuple[T, ...] = ()
    """The next to redo last."""

    def push(self, state: T) -> History[T]:
        """A new state; what was undone is forgotten."""
        return History(state, (*self.past, self.present))

    def undo(self) -> History[T]:
        """One back; at the start nothing happens."""
        return History(self.past[-1], self.past[:-1], (*self.future, self.present)) if self.past else self

    def redo(self) -> History[T]:
        """One forward again; at the end nothing happens."""
        return History(self.future[-1], (*self.past, self.present), self.future[:-1]) if self.future else self

    def each(self, change: Callable[[T], T]) -> History[T]:
        """Every state changed, in the same order."""
        return History(change(self.present), tuple(map(change, self.past)), tuple(map(change, self.future)))
