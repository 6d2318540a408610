"""Settings of the method that research changes: the terms' weights, guidance and clusters. Imports no rasterizer."""

from __future__ import annotations

from dataclasses import dataclass, field, make_dataclass
from typing import Annotated, Any, Literal

import tyro

from click_gaussian_ns.features.terms import TERMS

PAPER_EXACT: dict[str, Any] = {
    **{term.setting: term.paper for term in TERMS if term.paper != term.default},
    "segment_balance": 0.0,
    "gfl_agreement": 0.0,
    "gfl_start": 2 / 3,
    "clusters": "features",
    "weigh_by_sight": False,
}
"""The settings in which our defaults differ from the paper, with the paper's values."""

_TermWeights: Any = make_dataclass(
    "_TermWeights",
    [
        (term.setting, Annotated[float, tyro.conf.arg(help=term.help)], field(default=term.default))  # pyright: ignore
        for term in TERMS
    ],
)


@dataclass
class ResearchConfig(_TermWeights):
    """A weight per term (features/terms), guidance and clusters (equation numbers: the paper's)."""

    segment_balance: float = 2 / 3
    """How far large and small segments count alike in the contrastive terms (Eq. 3-5), from 0 to 1: a pixel counts by
    (size of its segment)^(-balance / 2). At 0 every pixel counts the same (the paper). Neither side of a border wins if
    balance = (1 - 2 p) / (1 - p), p being the datamanager's sampling power."""
    gfl_start: float = 0.0
    """Share of the run's steps after which global feature-guided learning begins. A resumed run's steps are all that it
    has at its end; guidance that had begun goes on."""
    gfl_update_every: float = 1 / 15
    """Time between refreshes of the global features, as a share of the run's steps."""
    gfl_agreement: float = 0.2
    """A Gaussian is pulled to the cluster with which it shares 2D segments most, however far it has strayed, if the
    next one falls behind by more than this share of what the cluster's Gaussians share with it on average. 0, or
    clusters of features: to the most similar one, as in the paper."""
    gfl_threshold: float = 0.9
    """tau^g. A Gaussian is pulled home while less similar than this to it, and then left as the pixels make it: small
    differences draw borders finer than Gaussians are. With an agreement of 0: it is pulled to the most similar cluster
    if more similar than this to it (Eq. 7)."""
    spatial_neighbors: int = 5
    """Neighbours of each Gaussian in the spatial term: that many nearest."""
    spatial_samples: int = 100_000
    """Gaussians sampled per step for the spatial term."""
    clusters: Literal["segments", "features"] = "segments"
    """What clusters are made of. segments: of the 2D segments of all views, before the first step; training starts from
    them and refines borders. features: of what was learned from random features, by HDBSCAN, as in the paper."""
    cluster_views_fraction: float = 0.1
    """With clusters of features: HDBSCAN's min_cluster_size as a fraction of the number of training views."""
    weigh_by_sight: bool = True
    """Whether at a pixel Gaussians count by their blending weight and by how many views bear them out: haze that one
    photo has before its camera does not answer for what lies behind it. In the paper they count by weight alone."""
    granularity_prior: bool = True
    """Whether the fine feature contains the coarse one (section 3.2). If not, each level has channels of its own."""

    def __post_init__(self) -> None:
        self._check_guidance()

    def guidance_steps(self, num_steps: int, guided_at: int | None = None) -> tuple[int, int]:
        """The step at which GFL begins, and steps between refreshes.

        Args:
            num_steps: of the run in all; of a resumed one, those before included.
            guided_at: the step at which a run is resumed that is guided already: it goes on to be.

        Raises:
            ValueError: a share is out of range, as in the config.yml of an earlier version, where they were steps.
        """
        self._check_guidance()
        start, every = (int(share * num_steps + 1e-6) for share in (self.gfl_start, self.gfl_update_every))
        return start if guided_at is None else min(start, guided_at), max(1, every)

    def _check_guidance(self) -> None:
        if not 0 <= self.gfl_start <= 1:
            raise ValueError(
                f"--pipeline.model.research.gfl-start {self.gfl_start}: expected a share of the run's steps, "
                "from 0 to 1"
            )
        if not 0 < self.gfl_update_every <= 1:
            raise ValueError(
                f"--pipeline.model.research.gfl-update-every {self.gfl_update_every}: expected a share of the run's "
                "steps, above 0 and up to 1"
            )
