"""Every test of the click tool's session, its scene on the pretended device."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import click_scene
import pytest
from pretend_cuda import pretend_cuda, to_cuda
from test_viewer_state import *  # noqa: F403

from click_gaussian_ns.types import Splats

del test_switches_that_overlap_are_not_lost  # its threads make tensors outside the pretended device


@pytest.fixture(autouse=True)
def _on_the_device(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    original = click_scene.SmallHost.__init__

    def on_device(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        self.splats = Splats(**{name: to_cuda(value) for name, value in vars(self.splats).items()})
        self.features, self.confidence = to_cuda(self.features), to_cuda(self.confidence)
        self._labels = {name: to_cuda(value) for name, value in self._labels.items()}
        self._centers = {name: to_cuda(value) for name, value in self._centers.items()}
        if self._tree is not None:
            tree = self._tree
            self._tree = replace(tree, parents=to_cuda(tree.parents), granularity=to_cuda(tree.granularity))

    monkeypatch.setattr(click_scene.SmallHost, "__init__", on_device)
    with pretend_cuda():
        yield
