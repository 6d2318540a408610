"""A wall of Gaussians with two objects of two parts each, whose features say exactly what they belong to."""

import numpy as np
import torch
from torch.nn.functional import normalize

from click_gaussian_ns.evaluate.truth import EvaluatedScene, EvaluatedView, LeftOut, Prompt, Task
from click_gaussian_ns.features.levels import granularity_levels
from click_gaussian_ns.raster import rasterize
from click_gaussian_ns.types import GlobalClusters, PinholeView, Splats

WIDTH, HEIGHT, DISTANCE = 48, 32, 4.0
LEVELS = granularity_levels()
NUM_PARTS = 4
PART_NAMES = ("left/top", "left/bottom", "right/top", "right/bottom")
OBJECT_NAMES = ("left", "right")


def wall() -> tuple[Splats, torch.Tensor]:
    """Gaussians on a plane, 3 x 2 world units, and the part of each; a gap of 0.2 separates the objects."""
    x, y = torch.meshgrid(torch.arange(-1.5, 1.5, 0.05) + 0.025, torch.arange(-1.0, 1.0, 0.05) + 0.025, indexing="ij")
    kept = x.abs() > 0.1
    x, y = x[kept], y[kept]
    num = x.shape[0]
    parts = 2 * (x > 0).long() + (y > 0).long()
    splats = Splats(
        means=torch.stack([x, y, torch.zeros(num)], dim=1),
        quats=torch.tensor([1.0, 0, 0, 0]).repeat(num, 1),
        log_scales=torch.full((num, 3), 0.03).log(),
        opacity_logits=torch.full((num,), 6.0),
        sh=torch.rand(num, 1, 3, generator=torch.Generator().manual_seed(0)),
    )
    return splats, parts


def view(shift: float = 0.0) -> PinholeView:
    """Looks straight at the wall, from `shift` to the right."""
    viewmat = torch.eye(4)
    viewmat[0, 3], viewmat[2, 3] = -shift, DISTANCE
    focal = 48.0
    return PinholeView(viewmat, torch.tensor([[focal, 0, WIDTH / 2], [0, focal, HEIGHT / 2], [0, 0, 1]]), WIDTH, HEIGHT)


def features_of(parts: torch.Tensor) -> torch.Tensor:
    """Coarse channels tell the object, the others the part; both halves of unit length."""
    features = torch.zeros(parts.shape[0], 24)
    features[torch.arange(parts.shape[0]), parts // 2] = 1.0
    features[torch.arange(parts.shape[0]), 12 + parts] = 1.0
    return features


def clusters_of(features: torch.Tensor, groups: dict[str, torch.Tensor]) -> dict[str, GlobalClusters]:
    """One cluster per group of Gaussians (labels from 0 up) and level."""
    made = {}
    for level in LEVELS:
        labels = groups[level.name]
        own = features[:, level.channels]
        centers = torch.stack([own[labels == i].mean(0) for i in range(int(labels.max()) + 1)])
        made[level.name] = GlobalClusters(
            level.name, normalize(centers, dim=-1), labels.to(torch.int32), torch.ones(labels.shape[0])
        )
    return made


def scene(shifts: tuple[float, ...] = (0.0, 0.3, -0.3), num_training: int = 1) -> tuple[EvaluatedScene, torch.Tensor]:
    """The scene as a perfect training would leave it, and the part of each Gaussian."""
    splats, parts = wall()
    features = features_of(parts)
    views = tuple(
        EvaluatedView(f"{i}.jpg", view(shift), "train" if i < num_training else "test", (HEIGHT, WIDTH))
        for i, shift in enumerate(shifts)
    )
    clusters = clusters_of(features, {"coarse": parts // 2, "fine": parts})
    return EvaluatedScene(splats, features, LEVELS, clusters, views), parts


class WallTruth:
    """True masks: the part that each pixel shows most of, 0 where less than half is covered."""

    dataset = "wall"
    left_out = LeftOut({"coarse": 0, "fine": 0}, {"coarse": (), "fine": ()})

    def __init__(self, of: EvaluatedScene, parts: torch.Tensor, scribbles: bool = False) -> None:
        self._scribbles = scribbles
        shown = torch.nn.functional.one_hot(parts, NUM_PARTS).float()
        self._maps = []
        for each in of.views:
            picture = rasterize.render(rasterize.prepare(of.splats, each.view), shown)
            part = picture.image.argmax(-1) + 1
            self._maps.append(torch.where(picture.alpha[..., 0] >= 0.5, part, 0).numpy().astype(np.uint16))
        self.labelled_views = tuple(i for i, each in enumerate(of.views) if each.split == "test")
        self.tasks = tuple(
            Task(level, name, 0, self.labelled_views)
            for level, names in (("coarse", OBJECT_NAMES), ("fine", PART_NAMES))
            for name in names
        )

    def label_map(self, level: str, view: int) -> np.ndarray:
        parts = self._maps[view]
        return (parts + 1) // 2 if level == "coarse" else parts

    def mask(self, task: Task, view: int) -> np.ndarray:
        names = OBJECT_NAMES if task.level == "coarse" else PART_NAMES
        return self.label_map(task.level, view) == names.index(task.name) + 1

    def prompt(self, task: Task) -> Prompt:
        mask = self.mask(task, task.reference)
        if not self._scribbles:
            return Prompt(mask, ~mask, is_mask=True)
        stroke = np.zeros_like(mask)
        stroke[8:10] = True
        return Prompt(mask & stroke, ~mask & stroke, is_mask=False)
