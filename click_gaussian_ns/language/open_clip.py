"""CLIP by open_clip_torch. The only module that imports it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from click_gaussian_ns.masks.checkpoints import checkpoint_folder, read_weights

DEFAULT_MODEL = "ViT-B-32"
_PUBLISHED = "https://huggingface.co/laion/CLIP-ViT-B-32-laion2B-s34B-b79K (open_clip_pytorch_model.bin)"
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)


class OpenClip:
    """A model of open_clip and its tokenizer, frozen."""

    blurred_background = True

    def __init__(self, model: Any, tokenizer: Callable[[list[str]], Tensor], key: str) -> None:
        self.key = key
        self._model, self._tokenizer = model.eval().requires_grad_(False), tokenizer
        size = model.visual.image_size
        self._size: tuple[int, int] = (size, size) if isinstance(size, int) else tuple(size)

    def images(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B E"]:
        shape = (1, 3, 1, 1)
        sized = interpolate(images, self._size, mode="bicubic", align_corners=False, antialias=True)
        mean, std = images.new_tensor(_MEAN).view(shape), images.new_tensor(_STD).view(shape)
        return normalize(self._model.encode_image((sized - mean) / std), dim=-1)

    def texts(self, texts: Sequence[str]) -> Float[Tensor, "B E"]:
        with torch.no_grad():
            return normalize(self._model.encode_text(self._tokenizer(list(texts))), dim=-1)


def open_weights(model: str, checkpoint: Path | None) -> OpenClip:
    """A model with the weights of a file: the given one, or <model>.pt in the folder of weights.

    Raises:
        ValueError: the library or the weights are missing, or do not fit the model.
    """
    try:
        import open_clip
    except ImportError as error:
        raise ValueError(
            "the encoder open-clip needs `pip install 'click-gaussian-ns[text]'`; --encoder colours needs nothing"
        ) from error
    if model not in open_clip.list_models():
        raise ValueError(f"--clip-model {model}: open_clip has no such model, see open_clip.list_models()")
    path = checkpoint or checkpoint_folder() / f"open_clip_{model}.pt"
    if not path.is_file():
        raise ValueError(
            f"the weights {path} of {model} are missing: get them, as from {_PUBLISHED}, and put them there, or name "
            "their place with --clip-checkpoint, or use --encoder colours, which needs no weights"
        )
    made: Any = open_clip.create_model(model, pretrained=None)
    try:
        made.load_state_dict(read_weights(path))
    except RuntimeError as error:
        raise ValueError(f"{path}: these weights are not of {model}: name their model with --clip-model") from error
    stat = path.stat()
    return OpenClip(made, open_clip.get_tokenizer(model), f"{model}-{stat.st_size}-{stat.st_mtime_ns}")
