"""An encoder that needs no weights and knows colours only: what a picture's pixels look like, and words for that."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from click_gaussian_ns.language.encoder import NEUTRAL

_COLOURS = {
    "red": ((200, 30, 30), (255, 0, 0), (139, 0, 0), (178, 60, 55)),
    "orange": ((255, 140, 0), (230, 120, 40), (255, 165, 0)),
    "yellow": ((255, 255, 0), (240, 210, 40), (220, 190, 80)),
    "green": ((0, 128, 0), (50, 205, 50), (34, 90, 40), (120, 170, 110)),
    "blue": ((0, 0, 255), (30, 144, 255), (0, 0, 128), (70, 130, 180), (135, 180, 230)),
    "purple": ((128, 0, 128), (75, 0, 130), (147, 112, 219), (160, 100, 200)),
    "pink": ((255, 192, 203), (255, 105, 180), (200, 120, 140)),
    "brown": ((139, 69, 19), (101, 67, 33), (160, 110, 70)),
    "black": ((0, 0, 0), (35, 35, 35)),
    "grey": ((90, 90, 90), (128, 128, 128), (170, 170, 170)),
    "white": ((235, 235, 235), (255, 255, 255)),
}
"""Shades that go by each name, vivid and muted, dark and light: about the web's."""
_SYNONYMS = {"gray": "grey", "violet": "purple", "bright": "light"}
_BRIGHTNESS = ("dark", "light")
_SPREAD = 12.0
"""Distance in CIELAB within which a pixel counts as a shade."""
_BRIGHTNESS_WEIGHT = 0.3
"""Of brightness beside colour."""
_SAME = 1 / 512
"""A pixel this near to the picture's corner is its plain background."""


class Colours:
    """Shares of named colours, and brightness. Shapes and sizes are not known to it."""

    key = "colours-2"
    blurred_background = False

    def __init__(self) -> None:
        self._lab = _lab(torch.tensor([shade for shades in _COLOURS.values() for shade in shades]) / 255)
        self._name_of = torch.tensor([place for place, shades in enumerate(_COLOURS.values()) for _ in shades])

    def images(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B E"]:
        """What is of exactly the colour of the top left corner is taken for background and left out."""
        pixels = images.flatten(2).transpose(1, 2)
        own = (pixels - pixels[:, :1]).abs().amax(dim=2) > _SAME
        own = (own | ~own.any(dim=1, keepdim=True)).to(pixels.dtype)
        own = own / own.sum(dim=1, keepdim=True)
        lab = _lab(pixels)
        distances = (lab[:, :, None] - self._lab.to(lab)).square().sum(dim=3)
        of_shades = ((-distances / (2 * _SPREAD**2)).softmax(dim=2) * own[..., None]).sum(dim=1)
        shares = of_shades.new_zeros(images.shape[0], len(_COLOURS))
        shares = shares.index_add(1, self._name_of.to(images.device), of_shades)
        light = (lab[..., 0] / 100 * own).sum(dim=1, keepdim=True)
        brightness = torch.cat([1 - light, light], dim=1) * _BRIGHTNESS_WEIGHT
        return normalize(torch.cat([normalize(shares, dim=1), brightness], dim=1), dim=1)

    def texts(self, texts: Sequence[str]) -> Float[Tensor, "B E"]:
        return torch.stack([_text(text) for text in texts])


def _text(text: str) -> Tensor:
    words = [_SYNONYMS.get(word, word) for word in re.findall(r"\w+", text.casefold())]
    names = list(_COLOURS)
    vector = torch.zeros(len(names) + 2)
    for word in words:
        if word in _COLOURS:
            vector[names.index(word)] = 1.0
        elif word in _BRIGHTNESS:
            vector[len(names) + _BRIGHTNESS.index(word)] = _BRIGHTNESS_WEIGHT
    if not bool(vector.any()):
        if not set(words) & set(NEUTRAL):
            shown = text if len(text) <= 40 else text[:40] + "..."
            raise ValueError(
                f"{shown!r} has no word that the encoder colours knows: use {', '.join((*names, *_BRIGHTNESS))}, or "
                "--encoder open-clip, which reads any text"
            )
        vector[: len(names)] = 1.0
    return normalize(vector, dim=0)


def _lab(rgb: Float[Tensor, "*rows 3"]) -> Float[Tensor, "*rows 3"]:
    """CIELAB (D65) of sRGB in [0, 1]."""
    rgb = rgb.clamp(0.0, 1.0)
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4)
    to_xyz = linear.new_tensor([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = linear @ to_xyz.T / linear.new_tensor([0.9505, 1.0, 1.089])
    root = torch.where(xyz > 0.008856, xyz.clamp_min(0.008856) ** (1 / 3), 7.787 * xyz + 16 / 116)
    x, y, z = root.unbind(-1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=-1)
