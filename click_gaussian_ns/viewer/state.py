"""The state of the click tool as plain values, and its transitions as pure functions. No viser, no rendering."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from jaxtyping import Bool, Float
from torch import Tensor

from click_gaussian_ns.edit.operations import Edit, Recolor, Transform
from click_gaussian_ns.selection.operations import CombineMode, combine
from click_gaussian_ns.selection.packed import PackedMask
from click_gaussian_ns.selection.pick import Prompt, without_dominated
from click_gaussian_ns.selection.tree import Node
from click_gaussian_ns.types import NO_CLUSTER
from click_gaussian_ns.viewer.book import ObjectBook

ClickMode = Literal["set", "add", "remove", "intersect", "not this"]
Highlight = Literal["tint", "only", "hidden", "off"]
CLICK_MODES: tuple[ClickMode, ...] = get_args(ClickMode)
HIGHLIGHTS: tuple[Highlight, ...] = get_args(Highlight)


@dataclass(frozen=True)
class Settings:
    """How the next click is understood and what is shown; not part of undo."""

    level: str
    mode: ClickMode = "set"
    highlight: Highlight = "tint"
    front_only: bool = False
    """Select only what the camera sees, not what lies behind."""
    min_confidence: float = 0.0
    """Selected Gaussians with less confidence are left out: floaters, never-seen ones."""
    similarity: float = 0.9
    """Cosine similarity for growing and shrinking by feature."""
    book: ObjectBook = field(default_factory=ObjectBook)
    """Names of objects, and which are switched off or locked."""


@dataclass(frozen=True)
class Work:
    """What undo goes back over: the selection and the edits."""

    level: str
    """Level that the selection was made at."""
    selected: PackedMask
    """Rows of the edited scene."""
    cluster_ids: tuple[int, ...] = ()
    """Clusters that were clicked together, ascending; empty where the selection came about otherwise."""
    prompts: tuple[Prompt, ...] = ()
    """What the clicks since the selection was last set hit."""
    edits: tuple[Edit, ...] = ()
    path: tuple[Node, ...] = ()
    """What the one click that the selection is made of can mean, from the part up to everything."""
    place: int = 0
    """Of the selection on the path."""

    @staticmethod
    def start(level: str, num_gaussians: int) -> Work:
        """Nothing selected, nothing edited."""
        return Work(level, PackedMask.none(num_gaussians))


def click_cluster(
    work: Work,
    mode: ClickMode,
    level: str,
    prompt: Prompt,
    members: Bool[Tensor, "M"],
    features: Callable[[], Float[Tensor, "M 24"]],
    current: Bool[Tensor, "M"],
) -> tuple[Work, Bool[Tensor, "M"]]:
    """The work after a click, and its selection unpacked.

    Negative clicks dominate: they stay in force for what later clicks add, until the selection is set anew.

    Args:
        work: before the click.
        mode: what the click does; "not this" drops what is more similar to the prompt than to the positive clicks.
        level: level of the click.
        prompt: what it hit.
        members: Gaussians of the prompt's cluster that may be selected.
        features: of the scene's rows; called only if a negative click takes part.
        current: `work.selected`, unpacked.

    Raises:
        ValueError: "not this" with nothing selected.
    """
    if mode == "not this":
        if not bool(current.any()):
            raise ValueError('"not this" narrows a selection: select something first')
        prompts = (*work.prompts, replace(prompt, negative=True))
        mask = without_dominated(features(), current, prompts)
        return replace(work, prompts=prompts, selected=PackedMask.pack(mask), path=()), mask
    mask = combine(mode, current, members)
    same = work.level == level
    ids = set(work.cluster_ids) if same else set()
    hit = {prompt.cluster_id}
    prompts = work.prompts
    if mode == "set":
        ids, prompts = hit, (prompt,)
    elif mode == "add":
        # clusters of another level, or Gaussians that no cluster stands for, are no longer told by IDs
        ids = ids | hit if (work.cluster_ids and same) or not bool(current.any()) else set()
        prompts = (*prompts, prompt)
        if any(p.negative for p in prompts):
            mask = current | without_dominated(features(), members, prompts)
    elif mode == "remove":
        ids -= hit
        prompts = tuple(p for p in prompts if p.negative or p.cluster_id != prompt.cluster_id)
    else:
        ids &= hit
    return replace(
        work, level=level, cluster_ids=tuple(sorted(ids)), prompts=prompts, selected=PackedMask.pack(mask), path=()
    ), mask


def select_mask(work: Work, mask: Bool[Tensor, "M"], level: str, cluster_ids: Sequence[int] = ()) -> Work:
    """The work with a selection that no click made."""
    return replace(
        work, level=level, selected=PackedMask.pack(mask), cluster_ids=tuple(sorted(cluster_ids)), prompts=(), path=()
    )


def select_node(work: Work, mask: Bool[Tensor, "M"], path: tuple[Node, ...], place: int) -> Work:
    """The work with another node of the clicked path selected; what was clicked stays known."""
    node, prompts = path[place], work.prompts
    return replace(select_mask(work, mask, node.level, node.cluster_ids), prompts=prompts, path=path, place=place)


def add_edit(work: Work, edit: Edit, selected_after: Bool[Tensor, "M"]) -> Work:
    """The work with one more edit; its scene may have more rows than before. What only moves or is painted stays what
    it is called."""
    ids = work.cluster_ids if isinstance(edit, Transform | Recolor) else ()
    selected = PackedMask.pack(selected_after)
    return replace(work, edits=(*work.edits, edit), selected=selected, cluster_ids=ids, prompts=(), path=())


def without_numbers(work: Work, level: str) -> Work:
    """The work after a level's clusters were made anew: the same Gaussians, but no cluster's number any more."""
    if work.level != level and all(node.level != level for node in work.path):
        return work
    prompts = tuple(replace(prompt, cluster_id=NO_CLUSTER) for prompt in work.prompts)
    return replace(work, cluster_ids=() if work.level == level else work.cluster_ids, prompts=prompts, path=())


def combine_mode(mode: ClickMode) -> CombineMode:
    """How rectangles combine: "not this" takes away."""
    return "remove" if mode == "not this" else mode
