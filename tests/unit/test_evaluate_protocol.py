"""The protocols on a scene whose right answers are known, and on that scene with one thing broken at a time."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluation_scene import NUM_PARTS, WallTruth, clusters_of, scene
from PIL import Image

from click_gaussian_ns.evaluate import command
from click_gaussian_ns.evaluate.html import PictureBook, page
from click_gaussian_ns.evaluate.metrics import iou
from click_gaussian_ns.evaluate.protocol import Pictures, evaluate_scene
from click_gaussian_ns.evaluate.results import Protocol, Report, TaskResult
from click_gaussian_ns.evaluate.truth import EvaluatedScene, LeftOut, Prompt, Task

LEVELS = ("coarse", "fine")


@pytest.fixture(scope="module")
def perfect() -> tuple[EvaluatedScene, torch.Tensor, WallTruth]:
    made, parts = scene()
    return made, parts, WallTruth(made, parts)


@pytest.fixture(scope="module")
def report(perfect) -> Report:
    made, _, truth = perfect
    return evaluate_scene(made, truth, seeds={"model": 7})


def result_of(report: Report, name: str) -> TaskResult:
    return next(result for result in report.results if result.task.name == name)


@pytest.mark.parametrize("level", LEVELS)
def test_a_perfect_scene_is_perfect(report: Report, level: str):
    metrics = {key.removeprefix(f"{level}."): value for key, value in report.metrics.items() if key.startswith(level)}
    exactly_one = ("miou", "boundary_iou", "macc", "everything_miou", "everything_view_miou", "everything_ari")
    assert {key: metrics[key] for key in exactly_one} == dict.fromkeys(exactly_one, 1.0)
    # selections end where their Gaussians cover half, label maps where another part covers more
    assert metrics["click_miou"] == metrics["clicks_1_miou"] > 0.93
    assert metrics["view_consistency"] > 0.97
    assert metrics["noc_80"] == metrics["noc_90"] == 1.0
    assert metrics["noc_80_failures"] == metrics["noc_90_failures"] == 0
    assert metrics["num_objects"] == metrics["num_clusters"] == (2 if level == "coarse" else 4)
    assert metrics["left_out_views"] == metrics["left_out_objects"] == 0


def test_each_object_is_found_as_its_own_cluster(report: Report):
    assert [result.cluster_ids for result in report.results] == [(0,), (1,), (0,), (1,), (2,), (3,)]
    assert {result.reference for result in report.results} == {"0.jpg"}
    assert all(set(result.views) == {"1.jpg", "2.jpg"} for result in report.results)


def test_the_first_click_lies_inside_the_object(report: Report, perfect):
    truth = perfect[2]
    for result in report.results:
        first = result.clicks[0]
        assert truth.prompt(result.task).inside[int(first.y_px), int(first.x_px)]
        assert not first.negative


def test_clusters_that_merge_objects(perfect):
    made, parts, truth = perfect
    groups = {"coarse": torch.zeros_like(parts), "fine": parts}
    merged = replace(made, clusters=clusters_of(made.features, groups))
    report = evaluate_scene(merged, truth)
    # as many pixels of the cluster lie outside of either object as inside
    assert report.metrics["coarse.miou"] == 0.0
    assert report.metrics["fine.miou"] == 1.0
    left, both = (truth.label_map("coarse", 1) == 1).sum(), (truth.label_map("coarse", 1) > 0).sum()
    one = result_of(report, "left")
    assert one.views["1.jpg"].clicked.iou == pytest.approx(left / both, abs=0.02)
    # the second click is on what is too much, and whole features tell the two objects apart
    assert [click.negative for click in one.clicks[:2]] == [False, True]
    assert one.reference_ious is not None
    assert one.reference_ious[0] == pytest.approx(0.5, abs=0.02) and one.reference_ious[1] > 0.9
    assert one.clicks_needed(0.9, 20) == 2
    assert report.metrics["coarse.noc_90"] == 2.0
    assert report.metrics["coarse.clicks_2_miou"] > 0.93
    # one of the two objects gets the cluster, the other nothing
    sizes = sum(np.bincount(truth.label_map("coarse", view).ravel(), minlength=3)[1:] for view in (1, 2))
    assert report.metrics["coarse.everything_miou"] == pytest.approx(sizes.max() / sizes.sum() / 2)
    assert report.metrics["coarse.everything_ari"] == 0.0


def test_clusters_that_split_objects(perfect):
    made, parts, truth = perfect
    features = made.features.clone()
    features[:, :12] = torch.nn.functional.one_hot(parts, 12)
    split = replace(made, features=features, clusters=clusters_of(features, {"coarse": parts, "fine": parts}))
    report = evaluate_scene(split, truth)
    assert report.metrics["coarse.miou"] == 1.0
    assert [result_of(report, name).cluster_ids for name in ("left", "right")] == [(0, 1), (2, 3)]
    one = result_of(report, "left")
    assert [click.negative for click in one.clicks[:2]] == [False, False]
    assert one.reference_ious is not None and one.reference_ious[0] == pytest.approx(0.5, abs=0.05)
    assert report.metrics["coarse.noc_90"] == 2.0
    assert report.metrics["coarse.click_miou"] == pytest.approx(0.5, abs=0.05)
    assert report.metrics["coarse.clicks_5_miou"] > 0.93
    assert report.metrics["coarse.everything_miou"] == pytest.approx(0.5, abs=0.05)


def test_a_pixel_counts_only_where_its_similarity_exceeds_the_threshold(perfect):
    made, _, truth = perfect
    fine = made.clusters["fine"]
    centers = fine.centers.clone()
    centers[0] *= 0.8
    centers[0, 11] = 0.6  # a channel that no feature has: similarity 0.8, still the most similar
    far = replace(made, clusters={**made.clusters, "fine": replace(fine, centers=centers)})
    report = evaluate_scene(far, truth)
    assert result_of(report, "left/top").cluster_ids == ()
    assert report.metrics["fine.miou"] == pytest.approx(3 / 4, abs=0.002)
    assert report.metrics["fine.everything_miou"] == pytest.approx(1, abs=0.005)
    assert evaluate_scene(far, truth, Protocol(similarity=0.79)).metrics["fine.miou"] == pytest.approx(1, abs=0.005)


def test_scribbles_instead_of_a_mask(perfect):
    made, parts, _ = perfect
    report = evaluate_scene(made, WallTruth(made, parts, scribbles=True))
    assert report.metrics["coarse.miou"] == 1.0
    assert report.metrics["coarse.click_miou"] > 0.93
    one = result_of(report, "left")
    assert one.reference_ious is None and len(one.clicks) == 1 and len(one.views["1.jpg"].click_ious) == 1
    assert 8 <= one.clicks[0].y_px <= 10
    for name in ("noc_80", "noc_90", "noc_80_failures", "clicks_1_miou", "clicks_5_miou"):
        assert report.metrics[f"coarse.{name}"] is None


def test_a_level_without_clusters_finds_nothing(perfect):
    made, parts, truth = perfect
    empty = replace(made.clusters["fine"], centers=torch.zeros(0, 24), labels=torch.full_like(parts, -1))
    report = evaluate_scene(replace(made, clusters={**made.clusters, "fine": empty}), truth)
    metrics = report.metrics
    assert metrics["fine.num_clusters"] == metrics["fine.miou"] == metrics["fine.click_miou"] == 0
    assert metrics["fine.noc_80"] == 20 and metrics["fine.noc_80_failures"] == 4
    assert metrics["fine.everything_miou"] == metrics["fine.view_consistency"] == 0
    assert metrics["coarse.miou"] == 1.0


def test_an_object_that_is_not_in_the_splat_cannot_be_clicked(perfect):
    made, parts, truth = perfect
    logits = made.splats.opacity_logits.clone()
    logits[parts < 2] = -20.0
    report = evaluate_scene(replace(made, splats=replace(made.splats, opacity_logits=logits)), truth)
    gone = result_of(report, "left")
    assert gone.clicks == () and gone.cluster_ids == ()
    assert gone.mean(lambda view: view.clicked.iou) == gone.mean(lambda view: view.propagated.iou) == 0.0
    assert report.metrics["coarse.noc_90"] == (20 + 1) / 2
    assert report.metrics["coarse.noc_90_failures"] == 1
    assert report.metrics["coarse.clicks_5_miou"] == pytest.approx(
        result_of(report, "right").mean(lambda v: v.click_ious[4]) / 2
    )


def test_an_unreachable_object_costs_the_most_clicks(perfect):
    made, parts, truth = perfect
    same = torch.ones_like(made.features)
    clusters = clusters_of(same, {"coarse": torch.zeros_like(parts), "fine": torch.zeros_like(parts)})
    report = evaluate_scene(replace(made, features=same, clusters=clusters), truth, Protocol(max_clicks=6))
    # all Gaussians are one cluster, and equally similar to every click
    one = result_of(report, "left")
    assert one.clicks_needed(0.8, 6) is None and len(one.clicks) == 6
    assert report.metrics["coarse.noc_80"] == 6.0 and report.metrics["coarse.noc_80_failures"] == 2
    assert len({(click.x_px, click.y_px) for click in one.clicks}) == 6


def test_boundary_iou_drops_faster_than_iou(perfect):
    made, parts, truth = perfect
    moved = parts.clone()
    near = (parts == 0) & (made.splats.means[:, 1] > -0.2)
    moved[near] = 1
    features = torch.zeros_like(made.features)
    features[torch.arange(len(parts)), moved // 2] = 1.0
    features[torch.arange(len(parts)), 12 + moved] = 1.0
    report = evaluate_scene(replace(made, features=features), truth)
    one = result_of(report, "left/top").views["1.jpg"]
    assert 0.7 < one.propagated.iou < 0.9
    assert one.propagated.boundary_iou < one.propagated.iou - 0.1
    assert one.propagated.accuracy > 0.9


def test_what_observers_are_shown_is_what_is_scored(perfect):
    made, _, truth = perfect
    shown: list[Pictures] = []
    evaluate_scene(made, truth, observe=shown.append)
    assert [p.score is None for p in shown] == [True] * 6 + [False] * 12
    for p in shown:
        if p.score is None:
            assert p.look.place == 0 and p.click is not None
        else:
            assert p.score.clicked.iou == p.score.click_ious[0] == iou(p.clicked, p.truth)
            assert p.score.propagated.iou == iou(p.propagated, p.truth)


def test_nothing_to_measure_is_said(perfect):
    made, parts, _ = perfect
    truth = WallTruth(made, parts)
    truth.tasks = ()
    with pytest.raises(ValueError, match="nothing to measure: no object of the ground truth has 30 px"):
        evaluate_scene(made, truth)


# --- files


def test_json_holds_metrics_protocol_seeds_and_objects(report: Report):
    content = json.loads(report.to_json())
    for level in LEVELS:
        for key in ("miou", "click_miou", "boundary_iou", "macc", "noc_80", "noc_90", "clicks_3_miou"):
            assert isinstance(content[f"{level}.{key}"], float), key
    assert content["seeds"] == {"model": 7}
    assert content["protocol"]["similarity"] == 0.9 and content["protocol"]["noc_targets"] == [0.8, 0.9]
    assert content["protocol"]["scored_views"] == ["1.jpg", "2.jpg"]
    assert content["protocol"]["scored_views_trained_on"] == 0
    assert [row["name"] for row in content["objects"][:2]] == ["left", "right"]
    row = content["objects"][0]
    assert row["noc"] == {"80": 1, "90": 1} and row["reference"] == "0.jpg" and set(row["views"]) == {"1.jpg", "2.jpg"}
    assert row["clicks"][0][2] == "positive"


def test_the_same_scene_gives_the_same_file(perfect, report: Report):
    made, _, truth = perfect
    assert evaluate_scene(made, truth, seeds={"model": 7}).to_json() == report.to_json()


def test_what_was_left_out_is_written(report: Report):
    left_out = LeftOut({"coarse": 2, "fine": 0}, {"coarse": ("spoon",), "fine": ()})
    content = json.loads(replace(report, left_out=left_out).to_json())
    assert content["left_out"] == {
        "views_below_min_pixels": {"coarse": 2, "fine": 0},
        "objects": {"coarse": ["spoon"], "fine": []},
        "masks_without_photo": [],
    }


def test_one_unlucky_reference_does_not_decide(perfect):
    """Means are over references, and the worst is told: here one sees an object behind something else."""
    made, parts, _ = perfect
    truth = WallTruth(made, parts)
    tasks = [replace(task, reference=place) for task in truth.tasks for place in truth.labelled_views]
    truth.tasks = tuple(tasks)
    metrics = evaluate_scene(made, truth).metrics
    assert metrics["coarse.num_references"] == 2 * metrics["coarse.num_objects"]
    assert metrics["coarse.miou"] == pytest.approx(1, abs=0.01) and metrics["coarse.miou_spread"] < 0.01
    original = truth.prompt

    def unlucky(task: Task) -> Prompt:
        """In one view the object is shown where its neighbour is."""
        if task.reference != truth.labelled_views[0]:
            return original(task)
        names = [t.name for t in tasks if t.level == task.level]
        other = names[-1] if task.name != names[-1] else names[0]
        return original(replace(task, name=other))

    truth.prompt = unlucky
    spoiled = evaluate_scene(made, truth).metrics
    assert spoiled["coarse.click_miou_worst"] < 0.1 and 0.4 < spoiled["coarse.click_miou"] < 0.6
    assert spoiled["coarse.click_miou_spread"] == pytest.approx(0.5, abs=0.05)


def test_the_page_needs_nothing_from_outside(perfect):
    made, _, truth = perfect
    book = PictureBook([view.name for view in made.views])
    text = page(evaluate_scene(made, truth, observe=book), book)
    assert "http" not in text and "<script" not in text and "<link" not in text
    sources = re.findall(r'src="([^"]*)"', text)
    assert len(sources) == 6 * 3 and all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert "<td>1.000</td>" in text and "left/bottom" in text


def test_names_are_text_on_the_page(perfect):
    made, _, truth = perfect
    name = "<b>'left' & \"right\"</b>"
    book = PictureBook([name + view.name for view in made.views])
    report = evaluate_scene(made, truth, observe=book)
    text = page(replace(report, dataset=name), book)
    assert name not in text and text.count("&lt;b&gt;") == 1 + 6 * 2 * 2, "data set; captions, each an alt text too"


def test_pictures_show_the_view_where_the_object_fares_worst(perfect):
    made, parts, truth = perfect
    features = made.features.clone()
    features[(parts == 3) & (made.splats.means[:, 0] > 1.2)] = features[parts == 0][0]
    book = PictureBook([view.name for view in made.views])
    report = evaluate_scene(replace(made, features=features), truth, observe=book)
    task = result_of(report, "right/bottom").task
    ious = {name: score.propagated.iou for name, score in result_of(report, "right/bottom").views.items()}
    assert book.pages[task].view == min(ious, key=lambda name: ious[name])
    assert book.pages[task].iou == min(ious.values()) < 1.0


def test_evaluation_from_files(tmp_path: Path, perfect, capsys):
    made, _, truth = perfect
    for view in range(3):
        for level in LEVELS:
            path = tmp_path / "gt" / level / f"{view}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(truth.label_map(level, view)).save(path)
    names = {"coarse": ["left", "right"], "fine": [f"part{i}" for i in range(NUM_PARTS)]}
    labels = {level: {str(i + 1): name for i, name in enumerate(of_level)} for level, of_level in names.items()}
    (tmp_path / "gt" / "labels.json").write_text(json.dumps(labels))
    output, html = tmp_path / "out" / "metrics.json", tmp_path / "out" / "report.html"
    command.run_evaluation(made, tmp_path / "gt", output, html, seeds={"model": 1})
    content = json.loads(output.read_text())
    assert content["coarse.miou"] == content["fine.miou"] == 1.0 and content["dataset"] == "label-maps"
    assert html.read_text().startswith("<!doctype html>")
    assert sorted(path.name for path in output.parent.iterdir()) == ["metrics.json", "report.html"]
    assert "miou" in capsys.readouterr().out
    with pytest.raises(ValueError, match="is a folder: give the name of the file"):
        command.run_evaluation(made, tmp_path / "gt", tmp_path)
