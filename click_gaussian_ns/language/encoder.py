"""What turns pictures and texts into vectors that can be compared, and the encoders by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol, get_args, runtime_checkable

from jaxtyping import Float
from torch import Tensor

EncoderName = Literal["open-clip", "colours"]
ENCODERS: tuple[EncoderName, ...] = get_args(EncoderName)

NEUTRAL = ("object", "things", "stuff", "texture")
"""LERF's: what a text has to fit better than. Every encoder reads them."""
MAX_CHARACTERS = 1000
"""Of a text; what CLIP reads of it is shorter still."""


@runtime_checkable
class Encoder(Protocol):
    """Pictures and texts in one space of unit vectors."""

    @property
    def key(self) -> str:
        """Another one if the vectors would be others: an index made with it is then stale."""
        ...

    @property
    def blurred_background(self) -> bool:
        """Whether pictures before their blurred surroundings help, besides those before plain grey."""
        ...

    def images(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B E"]:
        """Unit vectors of RGB pictures in [0, 1]; differentiable."""
        ...

    def texts(self, texts: Sequence[str]) -> Float[Tensor, "B E"]:
        """Unit vectors.

        Raises:
            ValueError: the encoder cannot read one of them.
        """
        ...


def open_encoder(name: str, model: str, checkpoint: Path | None) -> Encoder:
    """The encoder of that name; `model` and `checkpoint` are for open-clip.

    Raises:
        ValueError: there is none, or its library or weights are missing.
    """
    if name == "colours":
        from click_gaussian_ns.language.colours import Colours

        return Colours()
    if name == "open-clip":
        from click_gaussian_ns.language.open_clip import open_weights

        return open_weights(model, checkpoint)
    raise ValueError(f"--encoder {name}: expected one of {', '.join(ENCODERS)}")


def checked_text(text: str) -> str:
    """The text without white space around it.

    Raises:
        ValueError: nothing is left, or it is too long.
    """
    text = " ".join(text.split())
    if not text:
        raise ValueError("the text is empty: say what to look for, as in 'red mug'")
    if len(text) > MAX_CHARACTERS:
        raise ValueError(
            f"the text has {len(text):,} characters, at most {MAX_CHARACTERS:,} are read: describe it in a few words"
        )
    return text
