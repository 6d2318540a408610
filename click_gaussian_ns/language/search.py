"""How well a text fits the vectors of an index, as LERF measures it."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from click_gaussian_ns.language.encoder import NEUTRAL, Encoder, checked_text

FITS = 0.5
"""Relevancy from which a text fits better than every neutral word."""
_SHARPNESS = 10.0
"""LERF's."""


def relevancy(vectors: Float[Tensor, "M E"], encoder: Encoder, text: str) -> Float[Tensor, " M"]:
    """In [0, 1]: the chance of the text against the neutral word that fits best; 0 for what no view shows.

    Raises:
        ValueError: the text is empty, too long, or not read by the encoder.
    """
    wanted = encoder.texts([checked_text(text)])[0]
    similar, neutral = vectors @ wanted, (vectors @ encoder.texts(NEUTRAL).T).amax(dim=1)
    return torch.where(vectors.any(dim=1), torch.sigmoid(_SHARPNESS * (similar - neutral)), 0.0)
