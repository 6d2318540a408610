"""A real SAM, small enough for a test, with random weights, from the package's own classes."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer


def small_sam(seed: int = 0) -> Sam:
    """128 px input, 3 encoder blocks of width 32 (one of them global), prompts of width 32."""
    torch.manual_seed(seed)
    side, grid, width = 128, 8, 32
    sam = Sam(
        image_encoder=ImageEncoderViT(
            img_size=side,
            patch_size=16,
            embed_dim=width,
            depth=3,
            num_heads=2,
            mlp_ratio=2,
            out_chans=width,
            qkv_bias=True,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=4,
            global_attn_indexes=(1,),
        ),
        prompt_encoder=PromptEncoder(
            embed_dim=width, image_embedding_size=(grid, grid), input_image_size=(side, side), mask_in_chans=8
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(depth=2, embedding_dim=width, mlp_dim=64, num_heads=8),
            transformer_dim=width,
            iou_head_depth=3,
            iou_head_hidden_dim=32,
        ),
        pixel_mean=[123.675, 116.28, 103.53],
        pixel_std=[58.395, 57.12, 57.375],
    )
    # Fresh weights answer every point with the same blob; larger ones tell points apart, as trained ones do.
    with torch.no_grad():
        for parameter in sam.mask_decoder.parameters():
            if parameter.ndim > 1:
                parameter.mul_(5)
    return sam.eval()


def write_small_sam(path: Path, seed: int = 0) -> Path:
    torch.save(small_sam(seed).state_dict(), path)
    return path
