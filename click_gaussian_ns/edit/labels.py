"""A label per Gaussian in one file: for other programs, and for one's own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int32

from click_gaussian_ns.files import write_renamed, written_aside
from click_gaussian_ns.splats.ply import FileFrame, write_ply
from click_gaussian_ns.types import ClusterTree, GlobalClusters, Splats

ENDINGS = (".npy", ".ply", ".json")


def write_labels(
    path: Path,
    splats: Splats,
    clusters: Mapping[str, GlobalClusters],
    tree: ClusterTree | None,
    names: Mapping[str, Mapping[int, str]],
    frame: FileFrame | None = None,
) -> None:
    """Write the cluster of every Gaussian at every level, -1 where it has none.

    Args:
        path: by its ending: .npy, int32 [N, L], a column per level, coarse to fine; .ply, the splat itself with the
            properties label_<level> (int) and confidence_<level> (float); .json, labels, confidences, what
            every label is called, how many Gaussians it has, and the tree that labels join to.
        splats: of which rows labels are, in the frame to be written.
        clusters: by level, coarse to fine.
        tree: what they join to.
        names: given by the user, by level and label.
        frame: noted in a .ply.

    Raises:
        ValueError: another ending.
    """
    labels = {level: _labels(found) for level, found in clusters.items()}
    if path.suffix == ".npy":
        with written_aside(path) as temporary, temporary.open("wb") as file:
            np.save(file, np.stack(list(labels.values()), axis=1))
    elif path.suffix == ".ply":
        columns: dict[str, np.ndarray] = {f"label_{level}": values for level, values in labels.items()}
        columns |= {f"confidence_{level}": _confidence(found) for level, found in clusters.items()}
        write_ply(path, splats, frame, columns)
    elif path.suffix == ".json":
        record = {
            "num_gaussians": splats.num_gaussians,
            "levels": {level: _record(found, names.get(level, {})) for level, found in clusters.items()},
            "tree": None if tree is None else _tree_record(tree),
        }
        write_renamed(path, json.dumps(record).encode())
    else:
        raise ValueError(f"--labels {path}: expected a name that ends in one of {', '.join(ENDINGS)}")


def _labels(found: GlobalClusters) -> Int32[np.ndarray, "N"]:
    return found.labels.detach().cpu().numpy().astype(np.int32)


def _confidence(found: GlobalClusters) -> Float32[np.ndarray, "N"]:
    return found.confidence.detach().cpu().numpy().astype(np.float32)


def _record(found: GlobalClusters, names: Mapping[int, str]) -> dict[str, Any]:
    labels = _labels(found)
    counts = np.bincount(labels[labels >= 0], minlength=found.num_clusters)
    return {
        "objects": [
            {"label": label, "name": names.get(label), "num_gaussians": int(count)}
            for label, count in enumerate(counts.tolist())
        ],
        "labels": labels.tolist(),
        "confidence": [round(value, 4) for value in _confidence(found).tolist()],
    }


def _tree_record(tree: ClusterTree) -> dict[str, Sequence[Any]]:
    return {
        "levels": tree.levels,
        "counts": tree.counts,
        "parents": tree.parents.tolist(),
        "granularity": tree.granularity.tolist(),
    }
