"""The one door to frozen geometry: any source of Gaussians, brought into the dataparser's frame.

Frames of a scene whose dataparser gives dataparser_transform = [R | t] and dataparser_scale = s:

- "dataparser": the normalised frame that nerfstudio trains in. Splatfacto's checkpoints and the .ply files of
  `ns-export gaussian-splat` are in it.
- "world": the frame that x_dataparser = s (R x + t) maps from, the data's own. With the COLMAP dataparser this is
  COLMAP's frame, whatever `assume_colmap_world_coordinate_convention` says: nerfstudio multiplies that change of axes
  into dataparser_transform. With a transforms.json it is the frame of its poses, unless the file has an
  `applied_transform` (scenes made by `ns-process-data`): nerfstudio multiplies that in too, so it is the frame before
  it, again COLMAP's. The original 3DGS code and those after it train in this frame.
- "saved": the frame of the poses as such a transforms.json has them, after its `applied_transform`. Programs that
  read transforms.json as it stands train in this one. The same as "world" where there is no `applied_transform`.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from click_gaussian_ns.splats.checkpoint import find_run, is_antialiased, read_checkpoint, read_dataparser_transforms
from click_gaussian_ns.splats.formats import is_splat_file, read_splat_file
from click_gaussian_ns.splats.gsplat_file import holds_gsplat, read_gsplat
from click_gaussian_ns.splats.ply_header import PlyHeaderInfo
from click_gaussian_ns.splats.subset import drop_undrawable
from click_gaussian_ns.splats.transforms import Similarity, apply, fits_float32
from click_gaussian_ns.types import Splats

logger = logging.getLogger(__name__)

Frame = Literal["auto", "dataparser", "world", "saved"]


@dataclass(frozen=True)
class LoadedSplats:
    """Frozen geometry in the dataparser's frame, and how it came there."""

    splats: Splats
    num_dropped: int
    """Gaussians left out because a parameter is no number or the quaternion is zero."""
    frame: Frame
    """The frame that the source was taken to be in; never "auto"."""
    frame_reason: str
    """Why, for the log."""
    source: Path
    """The file that was read."""
    antialiased: bool
    """Whether it was trained in the rasterize mode "antialiased", as far as the source says."""


def load_splats(
    source: Path,
    frame: Frame,
    dataparser_transform: Float[Tensor, "3 4"],
    dataparser_scale: float,
    applied: Similarity | None = None,
) -> LoadedSplats:
    """Load Gaussians and bring them into the dataparser's frame.

    Args:
        source: a .ply of Gaussians, .splat, .ksplat, .spz, .sog; gsplat's .pt or .ckpt; an output folder of 3D Gaussian
            Splatting (its newest iteration); or a splatfacto run: its folder, its config.yml, its folder of
            checkpoints (the newest is taken) or one .ckpt.
        frame: the frame the source is in. "auto": a checkpoint is in its run's dataparser frame (if that run's
            dataparser_transforms.json says that it was another one than ours, the Gaussians go through the world to
            ours); a .ply is where its header says (written by `ns-export`, or by `write_ply` with a frame), else in
            "world". Any other value is believed as it is.
        dataparser_transform: nerfstudio's, of the training split.
        dataparser_scale: nerfstudio's.
        applied: `read_applied_transform(data)`, needed for "saved" only; None means that there is none.

    Raises:
        ValueError: one message that names the file, what is wrong and what was expected.
    """
    to_dataparser = Similarity.from_dataparser(dataparser_transform, dataparser_scale)
    antialiased = False
    inria = newest_inria_ply(source)
    if inria is not None:
        source = inria
    if holds_gsplat(source):
        file = source
        splats, num_dropped = drop_undrawable(read_gsplat(source), source)
        decided, reason = (frame, "as asked") if frame != "auto" else ("world", "gsplat trains in the data's own")
    elif source.is_dir() or source.suffix in (".ckpt", ".yml", ".yaml"):
        run = find_run(source)
        file, raw = run.checkpoint, read_checkpoint(run.checkpoint)
        splats, num_dropped = drop_undrawable(raw, file)
        antialiased = is_antialiased(run)
        own = run.dataparser_transforms
        if frame == "auto" and own is not None:
            from_run = read_dataparser_transforms(own)
            if from_run.is_close(to_dataparser):
                reason = f"a checkpoint of a run whose {own.name} agrees with this dataparser"
            else:
                splats = apply(splats, from_run.inverse().then(to_dataparser))
                reason = f"a checkpoint of a run with another dataparser frame: moved by its {own.name} to this one"
            return _log(LoadedSplats(splats, num_dropped, "dataparser", reason, file, antialiased))
        decided, reason = _frame_of_lone_checkpoint(frame)
    elif is_splat_file(source) or source.is_file():
        file = source
        splats, info = read_splat_file(source)
        num_dropped, antialiased = info.num_dropped, info.antialiased
        decided, reason = _frame_of_ply(frame, info)
    else:
        raise ValueError(
            f"{source}: no such file or folder. Expected a .ply of Gaussians (or .splat, .ksplat, .spz, .sog), a .pt "
            "of gsplat, an output folder of 3D Gaussian Splatting, or a splatfacto run: its folder, its config.yml, or "
            "a .ckpt."
        )
    if decided == "world":
        splats = apply(splats, to_dataparser)
    elif decided == "saved":
        splats = apply(splats, _from_saved(to_dataparser, applied or Similarity.identity()))
    splats = _in_float32(splats, file)
    return _log(LoadedSplats(splats, num_dropped, decided, reason, file, antialiased))


def _in_float32(splats: Splats, file: Path) -> Splats:
    """Centres in the precision of all that follows.

    Raises:
        ValueError: float32 cannot hold them.
    """
    if not fits_float32(splats.means):
        middle = splats.means.double().median(dim=0).values.round().tolist()
        raise ValueError(
            f"{file}: its Gaussians lie around ({middle[0]:.0f}, {middle[1]:.0f}, {middle[2]:.0f}), too far from the "
            "origin for the 32-bit numbers that nerfstudio computes with. Shift the splat and the camera poses by that "
            "much, or leave the dataparser's centring of poses on."
        )
    return replace(splats, means=splats.means.float())


def newest_inria_ply(folder: Path) -> Path | None:
    """The point_cloud.ply of the latest iteration in an output folder of 3D Gaussian Splatting; None: it is none."""
    found = {
        int(path.parent.name.partition("_")[2]): path
        for path in folder.glob("point_cloud/iteration_*/point_cloud.ply")
        if path.parent.name.partition("_")[2].isdigit()
    }
    return found[max(found)] if found else None


def read_applied_transform(data: Path) -> Similarity | None:
    """A transforms.json's `applied_transform` and `applied_scale`, which lead from "world" to "saved".

    Args:
        data: what `--data` names: a folder, or a transforms.json.

    Returns:
        None where the scene has no transforms.json or it has neither `applied_transform` nor `applied_scale`.

    Raises:
        ValueError: the file cannot be read, or its `applied_transform` is not a rigid 3x4 matrix.
    """
    path = data if data.suffix == ".json" else data / "transforms.json"
    if not path.is_file():
        return None
    try:
        meta = json.loads(path.read_text(encoding="utf-8-sig"))
        matrix = meta.get("applied_transform")
        if matrix is None and (data / "colmap" / "sparse" / "0").exists():
            matrix = _APPLIED_BEFORE_IT_WAS_SAVED
        if matrix is None and "applied_scale" not in meta:
            return None
        matrix = torch.eye(4)[:3] if matrix is None else torch.tensor(matrix, dtype=torch.float64)
        return Similarity.from_dataparser(matrix.reshape(3, 4), float(meta.get("applied_scale", 1.0)))
    except (OSError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise ValueError(
            f"{path}: its `applied_transform` cannot be read ({error}). Expected a 3x4 matrix as `ns-process-data` "
            "writes it."
        ) from error


_APPLIED_BEFORE_IT_WAS_SAVED = [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0]]
"""What nerfstudio assumes for COLMAP scenes processed before `applied_transform` was written to transforms.json."""


def _from_saved(to_dataparser: Similarity, applied: Similarity) -> Similarity:
    """The map that the dataparser gives the poses, before it multiplies in what was applied to them when saved."""
    undo = Similarity(applied.rotation, applied.translation, 1.0).inverse()
    poses = undo.then(Similarity(to_dataparser.rotation, to_dataparser.translation, 1.0))
    return Similarity(poses.rotation, poses.translation, to_dataparser.scale / applied.scale)


def _frame_of_lone_checkpoint(frame: Frame) -> tuple[Frame, str]:
    if frame != "auto":
        return frame, "as asked"
    logger.warning(
        "no dataparser_transforms.json beside the checkpoint: taking it to be in this dataparser's frame, which "
        "holds only for a run on the same data with the same dataparser flags"
    )
    return "dataparser", "a checkpoint without its run folder"


def _frame_of_ply(frame: Frame, info: PlyHeaderInfo) -> tuple[Frame, str]:
    if frame != "auto":
        return frame, "as asked"
    if info.stated_frame is not None:
        return info.stated_frame, "its header says so"
    if info.made_by_ns_export:
        return "dataparser", "its header says that `ns-export gaussian-splat` wrote it"
    return "world", "its header names no frame, so it is taken to be in the data's own"


def _log(loaded: LoadedSplats) -> LoadedSplats:
    logger.info(
        "%s: %d Gaussians, SH degree %d, frame %s (%s)%s",
        loaded.source,
        loaded.splats.num_gaussians,
        loaded.splats.sh_degree,
        loaded.frame,
        loaded.frame_reason,
        ", antialiased" if loaded.antialiased else "",
    )
    return loaded
