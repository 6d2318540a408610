"""`click-gaussian`: one subcommand per stage, each a thin call. Heavy imports happen inside the subcommands."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from click_gaussian_ns.masks.config import Engine, Generator, GeneratorConfigs, LevelRule, MaskConfig

LevelName = Literal["coarse", "middle", "fine"]
Points = tyro.conf.UseAppendAction[list[tuple[float, float]]]
Names = tyro.conf.UseAppendAction[list[str]]
Switch = Annotated[bool, tyro.conf.FlagCreatePairsOff]


def demo(output_dir: Path = Path("outputs/click-gaussian-demo"), viewer: bool = True, max_steps: int = 1000) -> None:
    """Build a small scene, train on it, measure, click, export, and open the viewer. No download, no GPU needed.

    Args:
        output_dir: Where the scene, the run and the pictures go; an earlier demo there is replaced.
        viewer: Open the viewer on the trained scene at the end.
        max_steps: Training steps at most. Training ends earlier where it helps no more.
    """
    from click_gaussian_ns.demo.run import run_demo

    run_demo(output_dir, max_steps=max_steps, open_viewer=viewer)


def poses(
    images: Path,
    output_dir: Path,
    num_frames: int = 100,
    matching: Literal["auto", "exhaustive", "sequential"] = "auto",
    cameras: Literal["auto", "one", "per-folder", "per-photo"] = "auto",
    camera_model: Literal["simple-radial", "opencv", "pinhole"] = "simple-radial",
    seed: int = 0,
    overwrite: Switch = False,
    train: Switch = False,
) -> None:
    """Find where plain photos, or the sharp frames of a video, were taken: what `ns-train click-gaussian` needs.

    Needs `pip install 'click-gaussian-ns[poses]'`, and neither COLMAP nor ffmpeg. The photos' folder is not changed. A
    call that was stopped goes on where it was.

    Args:
        images: A folder of photos, with those in folders below it, or a video.
        output_dir: Where images/, sparse/, a report and a picture of the cameras go: what is given as --data then.
        num_frames: Of a video: how many frames. It is cut into so many stretches, and the sharpest of each is taken.
        matching: Which photos are compared. exhaustive: all with all; sequential: each with those that follow; auto:
            sequential for videos and more than 150 photos.
        cameras: Which photos share a lens. auto: all that have one size and, if they say it, one camera and focal
            length.
        camera_model: What is found of a lens. pinhole knows no distortion; simple-radial is for most lenses, opencv for
            strong distortion.
        seed: Of what COLMAP draws by chance.
        overwrite: Replace what an earlier call made in the output folder.
        train: Go on with `ns-train click-gaussian --data OUTPUT_DIR`: from photos to a click in one command.
    """
    from click_gaussian_ns.poses.command import PoseSettings, run_poses

    settings = PoseSettings(num_frames, matching, cameras, camera_model, seed)
    run_poses(images, output_dir, settings, overwrite=overwrite)
    if train:
        import subprocess

        command = [sys.executable, "-m", "nerfstudio.scripts.train", "click-gaussian", "--data", str(output_dir)]
        sys.exit(subprocess.call(command))


def masks(
    data: Path,
    generator: Generator = "auto",
    mask_dir: Path | None = None,
    levels: LevelRule = "area",
    splat: Path | None = None,
    output_dir: Path | None = None,
    preview: Path | None = None,
    max_side: int = MaskConfig.max_side,
    cache_dir: Path | None = None,
    engine: Engine = "local",
    overwrite: Switch = False,
    settings: Annotated[GeneratorConfigs, tyro.conf.arg(name="")] = GeneratorConfigs(),  # noqa: B008
) -> None:
    """Make the label maps of a scene's training photos, or resume where an earlier call was stopped.

    Args:
        data: A COLMAP scene, a folder with transforms.json, or a plain folder of photos.
        generator: Where segments come from. auto: folder if there is a mask dir, else sam if its weights are at hand or
            there is a GPU (they are downloaded once), else superpixels.
        mask_dir: Folder of ready-made masks, for the generator folder.
        levels: How segments become levels. area: coarse is the largest, fine the smallest segment over a pixel.
            three-level-score and three-level-area: the model's own three levels; the best or the smallest segment wins.
        splat: Gaussians of the scene, for the generator superpixels: it divides them, so that segments agree across
            views. A .ply is drawn in the rasterize mode classic, a run in its own.
        output_dir: Write label maps {coarse,fine}/<photo>.png and statistics.json here.
        preview: Write a contact sheet of the label maps to this .jpg or .png.
        max_side: Photos with a longer side are segmented downscaled to it, in pixels.
        cache_dir: Where segments are kept between calls.
        engine: Where photos are segmented. local: on this machine; ray: on a Ray cluster.
        overwrite: Replace a preview that is there, and label maps that no earlier call wrote.
        settings: Settings of each generator.
    """
    from click_gaussian_ns.masks.command import run_masks
    from click_gaussian_ns.runs.machine import default_device
    from click_gaussian_ns.scenes.open_scene import open_scene

    scene = open_scene(data, splat)
    config = MaskConfig(
        mask_generator=generator,
        mask_dir=mask_dir,
        mask_levels=levels,
        max_side=max_side,
        mask_cache_dir=cache_dir,
        engine=engine,
        **vars(settings),
    )
    run_masks(
        config,
        scene.photos,
        scene.sizes,
        scene.guidance,
        default_device(),
        scene.photo_mask,
        scene.lenses,
        output_dir=output_dir,
        preview=preview,
        overwrite=overwrite,
    )


def view(load_config: Path, host: str = "127.0.0.1", port: int = 7007) -> None:
    """Open a run in nerfstudio's viewer, wherever its folder lies now, with its photos or without.

    The stock `ns-viewer` looks for a run where it was trained.

    Args:
        load_config: The run's config.yml.
        host: Address to listen on. 127.0.0.1: only this computer reaches it; 0.0.0.0: all that reach this computer do.
        port: Port to listen on.
    """
    from click_gaussian_ns.runs.view import view_run

    view_run(load_config, host, port)


def segment(
    load_config: Path,
    camera: str,
    point: Points,
    negative_point: Points = [],  # noqa: B006
    level: LevelName = "fine",
    name: str = "selection",
    view: Names = [],  # noqa: B006
    overwrite: Switch = False,
    granularity: float | None = None,
    wider: int = 0,
    narrower: int = 0,
) -> None:
    """Select Gaussians by clicking pixels of a photo's view, and save them with the run.

    Writes <run>/selections/<name>/: the selection, an overlay picture per view, and a config.yml with which the stock
    `ns-export gaussian-splat --load-config` exports only these Gaussians.

    Args:
        load_config: The run's config.yml.
        camera: Photo whose view is clicked: its file name, or its place (training photos first, from 0).
        point: A pixel of the object: x from the left, y from the top, in the photo as it is trained on (one longer
            than 1,600 px is halved until it is not). Repeat for more.
        negative_point: A pixel of what is not wanted. Repeat for more.
        level: What a click selects: coarse for objects, fine for parts.
        name: Name of the selection.
        view: More photos to draw an overlay picture of. Repeat for more.
        overwrite: Replace a selection of that name, with everything in its folder.
        granularity: Select up to this size, from 0, the smallest part, over objects to 1, everything; in place of a
            level.
        wider: Steps from what the level selects towards what it is part of.
        narrower: Steps from what the level selects towards the part that was clicked.
    """
    from click_gaussian_ns.runs.commands import segment_from_shell
    from click_gaussian_ns.selection.tree import asked_width
    from click_gaussian_ns.types import Click

    width = asked_width(granularity, wider, narrower)
    clicks = [Click(x, y) for x, y in point] + [Click(x, y, negative=True) for x, y in negative_point]
    segment_from_shell(load_config, camera, clicks, level, name, view, overwrite, width)


def export(
    load_config: Path,
    output_dir: Path | None = None,
    selection: str | None = None,
    complement: str | None = None,
    all_objects: Switch = False,
    level: LevelName = "coarse",
    frame: Literal["dataparser", "world"] = "dataparser",
    edits: Path | None = None,
    overwrite: Switch = False,
    granularity: float | None = None,
    format: Literal["ply", "compressed-ply", "splat", "spz", "sog"] = "ply",
    labels: Path | None = None,
    masks: Path | None = None,
) -> None:
    """Write Gaussians as files that other programs open: a saved selection, everything but it, or every object.

    Also a label per Gaussian, and a selection's mask in every photo.

    Args:
        load_config: The run's config.yml.
        output_dir: Where the files go.
        selection: Name of a saved selection to write.
        complement: Name of a saved selection to leave out.
        all_objects: Write every cluster of the level, a file each.
        level: Level of the objects, for all-objects.
        frame: Frame of the files. dataparser: nerfstudio's, as ns-export has it; world: the data's own, e.g. COLMAP's.
        edits: An edit list to apply first, e.g. the run's edits.json.
        overwrite: Replace files that are there already; with all-objects, all of the level from an earlier export.
        granularity: With all-objects: write what is one up to this size, from 0, the smallest parts, over objects to 1,
            everything; in place of a level.
        format: ply is exact. compressed-ply is SuperSplat's; it, spz and sog take a tenth to a fourth of the space and
            round. splat has no view-dependent colour.
        labels: Write the object and part of every Gaussian to this file: .npy, an integer per level, coarse to fine, -1
            for none; .ply, the splat with them as properties; .json, with names, confidences and the tree.
        masks: Write where each photo shows the selection to this folder: PNGs of the photos' sizes, and masks.json, a
            COCO data set.
    """
    from click_gaussian_ns.runs.commands import export_from_shell

    export_from_shell(
        load_config,
        output_dir,
        selection,
        complement,
        all_objects,
        level,
        frame,
        edits,
        overwrite,
        granularity,
        f".{format.replace('-', '.')}",
        labels,
        masks,
    )


def edit(
    load_config: Path,
    output_path: Path,
    edits: Path | None = None,
    frame: Literal["dataparser", "world"] = "dataparser",
    overwrite: Switch = False,
) -> None:
    """Replay an edit list, as the viewer saves it, and write the edited scene. The run stays as is.

    Args:
        load_config: The run's config.yml.
        output_path: The file to write: .ply, .compressed.ply, .splat, .spz or .sog.
        edits: The edit list; the run's own edits.json if none is given.
        frame: Frame of the file. dataparser: nerfstudio's, as ns-export has it; world: the data's own, e.g. COLMAP's.
        overwrite: Replace the file if it is there already.
    """
    from click_gaussian_ns.runs.commands import edit_from_shell

    edit_from_shell(load_config, edits, output_path, frame, overwrite)


def evaluate(
    load_config: Path,
    ground_truth: Path,
    output_path: Path = Path("metrics.json"),
    report: Path | None = None,
    dataset: Literal["label-maps", "lerf-mask", "spin-nerf", "nvos"] = "label-maps",
    references: int = 1,
) -> None:
    """Measure a run against true masks: label propagation, single clicks, corrective clicks, segment everything.

    Args:
        load_config: The run's config.yml.
        ground_truth: Folder of the true masks: {coarse,fine}/<photo>.png and labels.json for label-maps, else as the
            data set's authors publish them.
        output_path: Where the figures go, as JSON.
        report: Write a self-contained HTML page with a picture per object here.
        dataset: Layout of the ground truth.
        references: Show each object in this many photos, one after the other, spread evenly over those that could show
            it; means, their spread and the worst are given. 1: in the one that its data set says.
    """
    from click_gaussian_ns.runs.evaluation import evaluate_from_shell

    evaluate_from_shell(load_config, ground_truth, output_path, report, dataset, references)


def capture(load_config: Path, report: Path | None = None) -> None:
    """Compare a run's geometry with its photos: PSNR, fog before the cameras, photos that fit badly.

    Args:
        load_config: The run's config.yml.
        report: Write a self-contained HTML page with the photos that are shown worst here.
    """
    from click_gaussian_ns.runs.capture import capture_from_shell

    capture_from_shell(load_config, report)


def doctor() -> None:
    """Say what this machine has, which part of the work therefore runs where, and what to install for more."""
    from click_gaussian_ns.runs.doctor import print_doctor

    print_doctor()


def find(
    load_config: Path,
    text: str,
    encoder: Literal["open-clip", "colours"] = "open-clip",
    clip_model: str = "ViT-B-32",
    clip_checkpoint: Path | None = None,
    top: int = 5,
    level: LevelName | None = None,
    name: str | None = None,
    picture: Path | None = None,
    overwrite: Switch = False,
) -> None:
    """Find the objects, parts and groups that a text describes. The first call describes them all, and keeps that.

    Args:
        load_config: The run's config.yml.
        text: What to look for, as "red mug".
        encoder: What compares texts with pictures. open-clip: CLIP, which needs `pip install 'click-gaussian-ns[text]'`
            and weights; colours: knows words for colours only, and needs nothing.
        clip_model: A model of open_clip.
        clip_checkpoint: Its weights; open_clip_<model>.pt in the cache folder for weights if none are given.
        top: How many are listed at most.
        level: Only objects of this level; without it also parts, and groups that they join to.
        name: Save the best as a selection of this name.
        picture: Draw the best in the view that shows most of it to this .jpg or .png.
        overwrite: Replace a selection or a picture that is there.
    """
    from click_gaussian_ns.runs.words import find_from_shell

    find_from_shell(load_config, text, encoder, clip_model, clip_checkpoint, top, level, name, picture, overwrite)


_SUBCOMMANDS = {
    "demo": demo,
    "poses": poses,
    "masks": masks,
    "view": view,
    "segment": segment,
    "export": export,
    "edit": edit,
    "eval": evaluate,
    "capture": capture,
    "doctor": doctor,
    "find": find,
}


def main(args: list[str] | None = None) -> None:
    """Console entry point: bad input, and files that cannot be read or written, end in one line and exit code 2."""
    try:
        tyro.extras.subcommand_cli_from_dict(
            _SUBCOMMANDS, prog="click-gaussian", description="Click objects and parts in 3D Gaussian scenes.", args=args
        )
    except (ValueError, OSError) as error:
        from click_gaussian_ns.files import DEBUG

        if os.environ.get(DEBUG):
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
