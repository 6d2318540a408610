"""Vectors of every cluster of every level, and of what they join to: each is drawn alone in the views that show it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from click_gaussian_ns.files import read_npy, write_renamed, written_aside
from click_gaussian_ns.language.encoder import Encoder
from click_gaussian_ns.raster import rasterize
from click_gaussian_ns.raster.project import RasterizeMode
from click_gaussian_ns.selection.pick import visible_gaussians
from click_gaussian_ns.selection.tree import Node, TreeWalk
from click_gaussian_ns.splats.cameras import project_points
from click_gaussian_ns.splats.subset import select
from click_gaussian_ns.types import ClusterTree, GlobalClusters, PinholeView, Splats

NUM_VIEWS = 10
"""That each thing is drawn in: the paper's number."""
_SIDE_PX = 128
_SMALL_PX = 160
"""Longer side of the pictures that say what a view shows, and that are the blurred surroundings."""
_MARGIN = 0.1
"""Around a thing, of its longer side."""
_PLAIN = 0.5
"""Grey behind a thing drawn alone."""


@dataclass(frozen=True)
class IndexedScene:
    """What an index is made of."""

    splats: Splats
    clusters: Mapping[str, GlobalClusters]
    tree: ClusterTree | None
    views: Sequence[PinholeView]
    rasterize_mode: RasterizeMode

    def key(self, encoder: Encoder) -> str:
        """Another one as soon as Gaussians, clusters or the encoder are others."""
        digest = hashlib.sha256(f"{encoder.key} {NUM_VIEWS} {len(self.views)}".encode())
        splats = self.splats
        tensors = [splats.means, splats.quats, splats.log_scales, splats.opacity_logits, splats.sh]
        tensors += [self.clusters[name].labels for name in sorted(self.clusters)]
        tensors += [] if self.tree is None else [self.tree.parents]
        for tensor in tensors:
            digest.update(tensor.detach().cpu().contiguous().numpy().data)
        return digest.hexdigest()


def nodes_of(clusters: Mapping[str, GlobalClusters], tree: ClusterTree | None) -> list[Node]:
    """The clusters of every level; with a tree also what they join to."""
    if tree is None:
        return [Node(name, (i,), 0.0) for name, found in clusters.items() for i in range(found.num_clusters)]
    walk = TreeWalk(tree)
    paths = [walk.path(name, i) for name, count in zip(tree.levels, tree.counts) for i in range(count)]
    return list(dict.fromkeys(node for path in paths for node in path))


def make_index(
    scene: IndexedScene,
    nodes: Sequence[Node],
    encoder: Encoder,
    track: Callable[[Sequence[int], str], Iterable[int]] = lambda places, _: places,
) -> Float[Tensor, "M E"]:
    """A vector per node; zeros for what no view shows. One view or one node is in memory at a time."""
    seen = {name: torch.zeros(len(scene.views), max(found.num_clusters, 1)) for name, found in scene.clusters.items()}
    surroundings: list[Tensor] = []
    for place in track(range(len(scene.views)), "Looking at views"):
        small = _scaled(scene.views[place], _SMALL_PX)
        prepared = rasterize.prepare(scene.splats, small, scene.rasterize_mode)
        if encoder.blurred_background:
            surroundings.append(rasterize.render(prepared).image.clamp(0.0, 1.0).cpu())
        weight = rasterize.seen_weight(prepared, np.ones((small.height, small.width), bool)).cpu()
        for name, found in scene.clusters.items():
            labels = found.labels.cpu().long()
            of_some = labels >= 0
            seen[name][place].index_add_(0, labels[of_some], weight[of_some])
    drawn = visible_gaussians(scene.splats.opacity_logits)
    vectors: list[Tensor | None] = []
    for place in track(range(len(nodes)), "Describing objects"):
        node = nodes[place]
        shown = seen[node.level][:, list(node.cluster_ids)].sum(dim=1)
        best = [i for i in shown.argsort(descending=True)[:NUM_VIEWS].tolist() if shown[i] > 1.0]
        alone = select(scene.splats, node.mask(scene.clusters) & drawn)
        pictures = []
        for i in best:
            view, low, high = _closeup(alone, scene.views[i])
            rendered = rasterize.render(rasterize.prepare(alone, view, scene.rasterize_mode))
            image, alpha = rendered.image.clamp(0.0, 1.0).permute(2, 0, 1), rendered.alpha.permute(2, 0, 1)
            pictures.append(image + (1 - alpha) * _PLAIN)
            if surroundings:
                pictures.append(image + (1 - alpha) * _blurred(surroundings[i], low, high, scene.views[i]).to(image))
        if pictures:
            with torch.no_grad():
                vectors.append(normalize(encoder.images(torch.stack(pictures).cpu()).mean(dim=0), dim=0))
        else:
            vectors.append(None)
    size = next((vector.shape[0] for vector in vectors if vector is not None), 1)
    return torch.stack([torch.zeros(size) if v is None else v for v in vectors]) if vectors else torch.zeros(0, 1)


def kept_index(path: Path, scene: IndexedScene, encoder: Encoder) -> Float[Tensor, "M E"] | None:
    """The vectors that were kept, unless clusters, Gaussians or encoder have changed since."""
    try:
        found = json.loads(path.with_suffix(".json").read_text())
        if found["key"] != scene.key(encoder):
            return None
        return torch.from_numpy(read_npy(path, "Expected vectors of objects"))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def keep_index(path: Path, vectors: Float[Tensor, "M E"], scene: IndexedScene, encoder: Encoder) -> None:
    """Write them and what they were made of, the latter last."""
    path.with_suffix(".json").unlink(missing_ok=True)
    with written_aside(path) as temporary, temporary.open("wb") as file:
        np.save(file, vectors.numpy())
    write_renamed(path.with_suffix(".json"), json.dumps({"key": scene.key(encoder)}).encode())


def _scaled(view: PinholeView, longest: int) -> PinholeView:
    shrink = min(1.0, longest / max(view.width, view.height))
    width, height = max(1, round(view.width * shrink)), max(1, round(view.height * shrink))
    K = view.K.clone()
    K[0] *= width / view.width
    K[1] *= height / view.height
    return PinholeView(view.viewmat, K, width, height)


def _closeup(alone: Splats, view: PinholeView) -> tuple[PinholeView, Tensor, Tensor]:
    """A square view around some Gaussians, and its corners in the whole view, px."""
    points, depth = project_points(alone.means, view)
    points = points[depth > 1e-2].double()
    low, high = points.quantile(0.01, dim=0), points.quantile(0.99, dim=0)
    edge = high.new_tensor([view.width, view.height])
    low, high = low.clamp_min(0.0).minimum(edge - 1), high.clamp_min(1.0).minimum(edge)
    middle, side = (low + high) / 2, max(float((high - low).max()) * (1 + 2 * _MARGIN), 8.0)
    low = middle - side / 2
    K = view.K.clone()
    K[:2, 2] -= low.to(K)
    K[:2] *= _SIDE_PX / side
    return PinholeView(view.viewmat, K, _SIDE_PX, _SIDE_PX), low, low + side


def _blurred(small: Float[Tensor, "h w 3"], low: Tensor, high: Tensor, view: PinholeView) -> Float[Tensor, "3 H W"]:
    """A piece of the small picture, drawn up: that blurs it."""
    height, width = small.shape[:2]
    shrink = width / view.width
    x0, y0 = (max(0, int(v)) for v in (low * shrink).tolist())
    x1, y1 = (int(v) + 1 for v in (high * shrink).tolist())
    x0, y0 = min(x0, width - 1), min(y0, height - 1)
    piece = small[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)].permute(2, 0, 1)[None]
    return interpolate(piece, (_SIDE_PX, _SIDE_PX), mode="bilinear", align_corners=False)[0]
