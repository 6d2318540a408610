"""Exposure and white balance of each photo, learned beside the geometry: an affine map of colours.

What photos disagree on need not be explained by Gaussians in the air before them. Without a photo, colours stay.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

IDENTITY_WEIGHT = 4.0
"""Of the squared distance to the identity: a photo's colours change only as far as the others contradict them, so that
the colours of a scene are those of its photos."""


class Exposures(nn.Module):
    """A 3 x 4 matrix for each photo, as its difference from the identity."""

    def __init__(self, num_photos: int) -> None:
        super().__init__()
        self.offsets = nn.Parameter(torch.zeros(num_photos, 3, 4))

    def forward(self, rgb: Float[Tensor, "H W 3"], photo: int) -> Float[Tensor, "H W 3"]:
        """The colours as the photo has them."""
        offset = self.offsets[photo]
        return rgb + rgb @ offset[:, :3].T + offset[:, 3]

    def distance(self, photo: int) -> Float[Tensor, ""]:
        """A loss: how far a photo's map is from the identity."""
        return IDENTITY_WEIGHT * self.offsets[photo].square().sum()
