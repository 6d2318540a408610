"""Finding by text: the encoders, the index, what fits and what does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_model import front_camera
from small_run import small_run

from click_gaussian_ns.language.colours import Colours
from click_gaussian_ns.language.encoder import MAX_CHARACTERS, checked_text, open_encoder
from click_gaussian_ns.language.search import FITS, relevancy
from click_gaussian_ns.runs import words
from click_gaussian_ns.splats.spherical_harmonics import SH_C0

RGB = {"red": (0.8, 0.1, 0.1), "green": (0.1, 0.6, 0.1), "blue": (0.1, 0.2, 0.8), "white": (0.97, 0.97, 0.97)}


def disc(color: tuple[float, float, float]) -> torch.Tensor:
    """A square of a colour before plain grey."""
    picture = torch.full((3, 32, 32), 0.5)
    picture[:, 8:24, 8:24] = torch.tensor(color)[:, None, None]
    return picture


def test_a_colour_is_nearest_to_its_word() -> None:
    encoder = Colours()
    similar = encoder.images(torch.stack([disc(c) for c in RGB.values()])) @ encoder.texts(list(RGB)).T
    assert similar.argmax(dim=1).tolist() == list(range(len(RGB)))
    assert torch.allclose(encoder.images(disc(RGB["red"])[None]).norm(dim=1), torch.ones(1))


def test_colours_say_what_they_cannot_read() -> None:
    for text in ("mug", "杯子", "🙂", "x" * MAX_CHARACTERS):
        with pytest.raises(ValueError, match="has no word that the encoder colours knows"):
            Colours().texts([text])


def test_text_that_is_empty_or_endless_is_refused() -> None:
    with pytest.raises(ValueError, match="the text is empty"):
        checked_text(" \n")
    with pytest.raises(ValueError, match="10,000 characters"):
        checked_text("a" * 10_000)


def test_what_no_view_shows_is_never_found() -> None:
    encoder = Colours()
    vectors = torch.cat([encoder.images(disc(RGB["red"])[None]), torch.zeros(1, 13)])
    red, blue = relevancy(vectors, encoder, "red"), relevancy(vectors, encoder, "blue")
    assert red[0] > FITS > blue[0]
    assert red[1] == 0


def painted(folder: Path):
    """A run whose coarse clusters have a colour each."""
    run = small_run(folder, {"a.png": front_camera()})
    sh, labels = torch.zeros_like(run.splats.sh), run.clusters["coarse"].labels
    for cluster, color in enumerate(list(RGB.values())[: run.clusters["coarse"].num_clusters]):
        sh[labels == cluster, 0] = (torch.tensor(color) - 0.5) / SH_C0
    return replace(run, splats=replace(run.splats, sh=sh))


def test_an_object_is_found_by_its_colour_saved_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = painted(tmp_path)
    monkeypatch.setattr(words, "open_run", lambda path: run)
    monkeypatch.setattr(words, "write_selection_config", lambda config, path: path)
    found = words.find(run, Colours(), "red", "coarse")
    assert found[0][0].cluster_ids == (0,)
    assert found[0][1] > FITS
    config = tmp_path / "config.yml"
    words.find_from_shell(config, "red", "colours", "", None, level="coarse", name="it", picture=tmp_path / "p.png")
    ids = np.load(tmp_path / "selections" / "it" / "selection.npy")
    assert set(run.clusters["coarse"].labels[torch.from_numpy(ids).long()].tolist()) == {0}
    assert (tmp_path / "p.png").stat().st_size > 0


def test_nothing_fits_is_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = painted(tmp_path)
    monkeypatch.setattr(words, "open_run", lambda path: run)
    words.find_from_shell(tmp_path / "config.yml", "yellow", "colours", "", None, name="it")
    assert "Nothing in this run fits" in capsys.readouterr().out
    assert not (tmp_path / "selections").exists()


def test_an_index_is_kept_and_remade_when_clusters_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, made = painted(tmp_path), []
    real = words.make_index
    monkeypatch.setattr(words, "make_index", lambda *args: made.append(1) or real(*args))
    words.index_of(run, Colours())
    words.index_of(run, Colours())
    assert len(made) == 1
    coarse = run.clusters["coarse"]
    other = {**run.clusters, "coarse": replace(coarse, labels=coarse.labels.flip(0))}
    words.index_of(replace(run, clusters=other), Colours())
    assert len(made) == 2
    (tmp_path / "words" / "colours-2.npy").write_bytes(b"damaged")
    words.index_of(replace(run, clusters=other), Colours())
    assert len(made) == 3


def test_open_clip_without_weights_says_where_they_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLICK_GAUSSIAN_CHECKPOINTS", str(tmp_path))
    with pytest.raises(ValueError, match=r"open_clip_ViT-B-32\.pt of ViT-B-32 are missing.*--encoder colours"):
        open_encoder("open-clip", "ViT-B-32", None)


def test_open_clip_classes_run_with_random_weights() -> None:
    import open_clip

    from click_gaussian_ns.language.open_clip import OpenClip

    vision = {"image_size": 32, "patch_size": 16, "width": 32, "layers": 1, "head_width": 16}
    text = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
    encoder = OpenClip(open_clip.CLIP(16, vision, text), open_clip.SimpleTokenizer(), "tiny")
    pictures = torch.rand(2, 3, 40, 40, requires_grad=True)
    vectors = encoder.images(pictures)
    vectors[:, 0].sum().backward()
    assert pictures.grad is not None and bool(pictures.grad.abs().sum() > 0)
    assert torch.allclose(vectors.norm(dim=1), torch.ones(2), atol=1e-5)
    assert encoder.texts(["red mug", "杯子", "a " * 500]).shape == (3, 16)
