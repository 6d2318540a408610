"""A run is where its config.yml lies, not where it was trained."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from commands import run_command
from nerfstudio.scripts.viewer import run_viewer
from nerfstudio.viewer.utils import parse_object
from nerfstudio.viewer.viewer_elements import ViewerElement

from click_gaussian_ns.demo.scene import DemoScene
from click_gaussian_ns.runs.open_run import open_run


@pytest.fixture(scope="module")
def copied(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """config.yml of a copy whose checkpoint is another one: all quaternions are negated, which draws the same."""
    folder = tmp_path_factory.mktemp("elsewhere") / "my copy"
    shutil.copytree(trained.parent, folder)
    (checkpoint,) = folder.glob("nerfstudio_models/step-*.ckpt")
    state = torch.load(checkpoint, weights_only=False)
    (name,) = (key for key in state["pipeline"] if key.endswith("quats"))
    state["pipeline"][name] = -state["pipeline"][name]
    torch.save(state, checkpoint)
    return folder / "config.yml"


def test_a_copy_answers_with_its_own_checkpoint(trained: Path, copied: Path) -> None:
    original, copy = open_run(trained), open_run(copied)
    assert torch.equal(copy.splats.quats, -original.splats.quats)
    assert copy.run_dir == copied.parent


def test_what_a_copy_saves_and_exports_is_its_own(
    trained: Path, copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(path.relative_to(trained.parent) for path in trained.parent.rglob("*"))
    monkeypatch.chdir(tmp_path)
    run_command(
        *("click-gaussian", "segment", "--load-config", copied, "--camera", "0"),
        *("--point", "160", "120", "--name", "middle"),
    )
    assert sorted(path.relative_to(trained.parent) for path in trained.parent.rglob("*")) == before
    saved = copied.parent / "selections" / "middle" / "config.yml"
    run_command("ns-export", "gaussian-splat", "--load-config", saved, "--output-dir", tmp_path / "stock")
    assert [path.name for path in (tmp_path / "stock").glob("*.ply")] == ["splat.ply"]
    run_command(
        *("click-gaussian", "export", "--load-config", copied, "--selection", "middle"),
        *("--output-dir", tmp_path / "ours", "--format", "sog"),
    )
    assert (tmp_path / "ours" / "middle.sog").is_file()
    with pytest.raises(ValueError, match="is the config of a saved selection, for ns-export"):
        open_run(saved)


def test_the_viewer_shows_a_copy_and_writes_to_it(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(run_viewer, "_start_viewer", lambda *given: asked.append(given))
    run_command("click-gaussian", "view", "--load-config", copied, "--port", "7099")
    ((config, pipeline, step),) = asked
    assert torch.equal(pipeline.model.splats.quats, open_run(copied).splats.quats)
    assert (config.get_base_dir() / config.viewer.relative_log_filename).parent == copied.parent.resolve()
    assert (config.viewer.websocket_host, config.viewer.websocket_port) == ("127.0.0.1", 7099)
    assert step > 0


def test_a_config_without_its_checkpoints_is_refused(trained: Path, tmp_path: Path) -> None:
    shutil.copy(trained, tmp_path / "config.yml")
    with pytest.raises(ValueError, match="no checkpoint of the run lies beside it") as error:
        open_run(tmp_path / "config.yml")
    assert "\n" not in str(error.value)


def test_a_run_works_without_its_photos(trained: Path, demo_scene: DemoScene, tmp_path: Path) -> None:
    """Photos, transforms.json and splat are gone; what draws and selects needs none of them."""
    folder = tmp_path / "run"
    shutil.copytree(trained.parent, folder)
    config, gone = folder / "config.yml", tmp_path / "gone"
    whole = open_run(trained)
    demo_scene.data.rename(gone)
    try:
        run = open_run(config)
        assert torch.equal(run.splats.means, whole.splats.means)
        assert [view.name for view in run.views] == [view.name for view in whole.views]
        for found, truth in zip(run.views, whole.views):
            assert torch.equal(found.view.viewmat, truth.view.viewmat) and torch.equal(found.view.K, truth.view.K)
        segment = ("click-gaussian", "segment", "--load-config", config, "--camera", "000", "--point", "160", "120")
        run_command(*segment, "--name", "middle")
        run_command(
            *("click-gaussian", "export", "--load-config", config, "--selection", "middle", "--frame", "world"),
            *("--output-dir", tmp_path / "ours"),
        )
        assert (tmp_path / "ours" / "middle.ply").is_file()
        # the stock commands look for the run where it was trained
        run_command("ns-export", "gaussian-splat", "--load-config", trained, "--output-dir", tmp_path / "stock")
        # what nerfstudio's viewer does as it starts: it reads every property, and draws thumbnails
        parse_object(run.pipeline, ViewerElement, "Custom Elements")
        assert run.pipeline.datamanager.train_dataset[0]["image"].shape == (240, 320, 3)
    finally:
        gone.rename(demo_scene.data)
