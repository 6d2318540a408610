"""What a session shows, as a `Display` that changes no more than it must."""

from __future__ import annotations

from jaxtyping import Bool
from torch import Tensor

from click_gaussian_ns.edit.display import Display, row_sources, shown_splats
from click_gaussian_ns.edit.scene import EditedScene
from click_gaussian_ns.types import Splats
from click_gaussian_ns.viewer.state import Highlight


class Drawing:
    """Keeps the drawn splats the same object as long as it can, so that views that are prepared stay valid."""

    def __init__(self) -> None:
        self._kept: tuple[EditedScene, Bool[Tensor, " M"], Splats] | None = None

    def display(
        self,
        scene: EditedScene,
        num_base: int,
        allowed: Bool[Tensor, "M"],
        selected: Bool[Tensor, "M"],
        highlight: Highlight,
    ) -> Display:
        """The scene's `allowed` rows with the selection highlighted; an empty selection is never shown "only"."""
        shown = allowed
        if highlight in ("only", "hidden") and bool(selected.any()):
            shown = allowed & (selected if highlight == "only" else ~selected)
        kept = self._kept
        if kept is None or kept[0] is not scene or not (kept[1] is shown or bool((kept[1] == shown).all())):
            kept = self._kept = (scene, shown, shown_splats(scene.splats, shown))
        return Display(kept[2], row_sources(scene, num_base), selected if highlight == "tint" else None)
