"""Pictures of one camera, each computed when it is first asked for: the viewer shows one of them at a time."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

_GOLDEN = 0.618033988749895
_PCA_SAMPLE = 4096


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Run the block without the thread's line tracer.

    nerfstudio's viewer breaks a frame off by raising from such a tracer, at whatever line Python is just then. Raised
    in the middle of a compiler (numba's, or a decorator's) the exception arrives as another one, which nerfstudio does
    not expect: the browser's drawing thread dies. Outside the block it is raised as before.
    """
    tracer = sys.gettrace()
    sys.settrace(None)
    try:
        yield
    finally:
        sys.settrace(tracer)


class LazyOutputs(dict[str, Any]):
    """A dict whose values are made on first access; keys are known from the start."""

    def __init__(self, makers: dict[str, Callable[[], Tensor]]) -> None:
        super().__init__(dict.fromkeys(makers))
        self._makers = dict(makers)

    def __getitem__(self, key: str) -> Any:
        if key in self._makers:
            self[key] = self._makers[key]()
        return super().__getitem__(key)

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        self._makers.pop(key, None)

    def get(self, key: str, default: Any = None) -> Any:
        return self[key] if key in self else default  # noqa: SIM401

    def items(self) -> Iterator[tuple[str, Any]]:  # type: ignore[override]
        return ((key, self[key]) for key in list(self))

    def values(self) -> Iterator[Any]:  # type: ignore[override]
        return (self[key] for key in list(self))


def cluster_colors(num_clusters: int) -> Float[Tensor, "C 3"]:
    """A colour per cluster ID, the same in all views: hues by the golden ratio, three strengths in turn."""
    import colorsys

    colors = [
        colorsys.hsv_to_rgb((i * _GOLDEN) % 1.0, (0.85, 0.55, 0.7)[i % 3], (0.95, 1.0, 0.7)[(i // 3) % 3])
        for i in range(num_clusters)
    ]
    return torch.tensor(colors).reshape(num_clusters, 3)


def segment_picture(cluster: Int[Tensor, "H W"], num_clusters: int) -> Float[Tensor, "H W 3"]:
    """RGB in [0, 1] of a cluster map; black where there is no cluster."""
    palette = torch.cat([cluster_colors(num_clusters), torch.zeros(1, 3)]).to(cluster.device)
    return palette[cluster]


def pca_picture(
    image: Float[Tensor, "H W D"], alpha: Float[Tensor, "H W 1"], features: Float[Tensor, "N D"]
) -> Float[Tensor, "H W 3"]:
    """RGB in [0, 1]: the three main directions among the Gaussians' features, the same in all views; black outside.

    A seeded sample of the features gives directions and range, signs are fixed, so that colours stay put as the camera
    moves.
    """
    if features.shape[0] == 0:
        return image.new_zeros(*image.shape[:2], 3)
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randint(features.shape[0], (_PCA_SAMPLE,), generator=generator).to(features.device)
    sample = normalize(features[chosen], dim=-1)
    mean = sample.mean(dim=0)
    _, _, directions = torch.linalg.svd(sample - mean, full_matrices=False)
    basis = directions[:3] * torch.sign(directions[:3].sum(dim=1, keepdim=True) + 1e-12)
    projected = (sample - mean) @ basis.T
    low, high = projected.quantile(0.02, dim=0), projected.quantile(0.98, dim=0)
    pixels = (normalize(image, dim=-1) - mean) @ basis.T
    return ((pixels - low) / (high - low).clamp_min(1e-6)).clamp(0.0, 1.0) * (alpha >= 0.5)
