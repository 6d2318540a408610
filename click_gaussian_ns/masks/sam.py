"""Segment Anything: the `segment-anything` package behind the segmenter protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from segment_anything import SamAutomaticMaskGenerator
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from segment_anything.utils.amg import generate_crop_boxes

from click_gaussian_ns.masks.automatic import NEUTRAL_SETTINGS, LevelAware, generator_settings
from click_gaussian_ns.masks.checkpoints import checkpoint_digest, obtain_checkpoint, read_weights
from click_gaussian_ns.masks.config import SamConfig
from click_gaussian_ns.masks.segmenter import Segment, ViewGuidance

_PATCH = 16
_ENCODERS = {(1280, 32): "vit_h", (1024, 24): "vit_l", (768, 12): "vit_b"}
"""Embedding width and depth of the published image encoders."""
_DECODER_HEADS = 8


class _Generator(LevelAware, SamAutomaticMaskGenerator):
    _crop_boxes = staticmethod(generate_crop_boxes)

    def __init__(self, model: Sam, config: SamConfig) -> None:
        super().__init__(model, **generator_settings(config))
        self.record_levels("predict_torch")


class SamSegmenter:
    """The automatic mask generator of SAM. The model is loaded when the first image comes."""

    name = "sam"
    uses_guidance = False
    gives_levels = True

    def __init__(self, config: SamConfig, device: torch.device) -> None:
        """
        Raises:
            ValueError: no weights at hand and none can be had, or the published file is damaged.
        """
        self._config = config
        self._device = device
        self._checkpoint = obtain_checkpoint(config, config.model)
        self._digest = checkpoint_digest(config, config.model, self._checkpoint)
        self._generator: _Generator | None = None

    def fingerprint(self) -> Mapping[str, Any]:
        settings = {name: value for name, value in asdict(self._config).items() if name not in NEUTRAL_SETTINGS}
        return {"weights": self._digest, **settings}

    def segment(self, image: UInt8[np.ndarray, "H W 3"], guidance: ViewGuidance | None) -> list[Segment]:
        if self._generator is None:
            model = load_sam(self._checkpoint, self._config.model).to(self._device)
            self._generator = _Generator(model, self._config)
        return self._generator.segments_within_memory(image, self._config, self._device)


def load_sam(checkpoint: Path, model: str) -> Sam:
    """A SAM in evaluation mode with the weights of a checkpoint.

    Args:
        checkpoint: its tensors tell the architecture.
        model: `vit_h`, `vit_l` or `vit_b` must be what the checkpoint holds; `from-checkpoint` takes any.

    Raises:
        ValueError: truncated, no SAM, or another model than asked for.
    """
    weights = read_weights(checkpoint)
    try:
        found, sam = _build(weights)
    except (KeyError, ValueError, StopIteration, IndexError) as error:
        raise ValueError(
            f"{checkpoint} is no checkpoint of SAM (its tensors lack {error}): expected one of "
            "sam_vit_h_4b8939.pth, sam_vit_l_0b3195.pth, sam_vit_b_01ec64.pth or a fine-tuned one"
        ) from error
    if model not in ("from-checkpoint", found):
        raise ValueError(
            f"{checkpoint} holds the model {found}, not {model}: "
            f"use the setting `model {found if found in _ENCODERS.values() else 'from-checkpoint'}`, "
            f"or a checkpoint of {model}"
        )
    try:
        sam.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(
            f"{checkpoint} does not fit the architecture of SAM: {str(error).splitlines()[-1].strip()}"
        ) from error
    return sam.eval()


def _build(weights: Mapping[str, torch.Tensor]) -> tuple[str, Sam]:
    """The architecture that tensors of these shapes belong to, with random weights, and its name."""
    embedding = weights["image_encoder.pos_embed"]
    width = embedding.shape[3]
    grid = embedding.shape[1]
    depth = _count(weights, "image_encoder.blocks.{}.norm1.weight")
    # A relative-position table of 2 n - 1 rows serves windows of n patches; a global block's spans the grid.
    spans = [(weights[f"image_encoder.blocks.{i}.attn.rel_pos_h"].shape[0] + 1) // 2 for i in range(depth)]
    head_width = weights["image_encoder.blocks.0.attn.rel_pos_h"].shape[1]
    prompt_width = weights["prompt_encoder.no_mask_embed.weight"].shape[1]
    transformer = "mask_decoder.transformer.layers"
    image_size = grid * _PATCH
    sam = Sam(
        image_encoder=ImageEncoderViT(
            img_size=image_size,
            patch_size=_PATCH,
            embed_dim=width,
            depth=depth,
            num_heads=width // head_width,
            mlp_ratio=weights["image_encoder.blocks.0.mlp.lin1.weight"].shape[0] / width,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),  # pyright: ignore[reportArgumentType]
            qkv_bias=True,
            use_rel_pos=True,
            global_attn_indexes=tuple(i for i in range(depth) if spans[i] == grid),
            window_size=min(spans),
            out_chans=prompt_width,
        ),
        prompt_encoder=PromptEncoder(
            embed_dim=prompt_width,
            image_embedding_size=(grid, grid),
            input_image_size=(image_size, image_size),
            mask_in_chans=weights["prompt_encoder.mask_downscaling.3.weight"].shape[0],
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=weights["mask_decoder.mask_tokens.weight"].shape[0] - 1,
            transformer=TwoWayTransformer(
                depth=_count(weights, transformer + ".{}.norm1.weight"),
                embedding_dim=prompt_width,
                mlp_dim=weights[f"{transformer}.0.mlp.lin1.weight"].shape[0],
                num_heads=_DECODER_HEADS,
            ),
            transformer_dim=prompt_width,
            iou_head_depth=_count(weights, "mask_decoder.iou_prediction_head.layers.{}.weight"),
            iou_head_hidden_dim=weights["mask_decoder.iou_prediction_head.layers.0.weight"].shape[0],
        ),
        pixel_mean=[123.675, 116.28, 103.53],
        pixel_std=[58.395, 57.12, 57.375],
    )
    return _ENCODERS.get((width, depth), f"of {depth} blocks of width {width}"), sam


def _count(weights: Mapping[str, torch.Tensor], pattern: str) -> int:
    count = 0
    while pattern.format(count) in weights:
        count += 1
    return count
