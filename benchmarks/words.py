"""How often a text finds the object that it means: top-1 of 12 objects of kitchen, coarse level, higher is better.

    python benchmarks/words.py --load-config RUN/config.yml --ground-truth ../shared/data/kitchen/gt [--encoder colours]

With colours the texts are the colours that the objects have in the photos; with open-clip they are the objects' names.
An answer is right if the ground truth's object that most of its pixels lie on, over the test photos, is the one meant.
Also seconds to describe a cluster.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from PIL import Image

from click_gaussian_ns.language.encoder import ENCODERS, open_encoder
from click_gaussian_ns.raster import rasterize
from click_gaussian_ns.runs.open_run import Run, open_run
from click_gaussian_ns.runs.words import find, index_of
from click_gaussian_ns.selection.propagate import selection_masks_2d
from click_gaussian_ns.selection.tree import Node

COLOURS = {
    "apple": "red",
    "books": "purple and white",
    "bottle": "green and red",
    "cube": "black",
    "duck": "yellow",
    "mug": "blue",
    "orange": "orange",
    "placemat": "pink and white",
    "plate": "white",
    "pot": "green and brown",
    "spoon": "grey",
    "table": "brown",
}


def object_of(run: Run, node: Node, folder: Path, names: dict[str, str]) -> str:
    """The object that most pixels of a node lie on."""
    counts = np.zeros(max(map(int, names)) + 1)
    for named in (view for view in run.views if view.split == "test"):
        prepared = rasterize.prepare(run.splats, named.view, run.rasterize_mode)
        shown = selection_masks_2d(prepared, node.mask(run.clusters)[None])[0]
        truth = Image.open(folder / "coarse" / f"{Path(named.name).stem}.png")
        labels = np.asarray(truth.resize((named.view.width, named.view.height), Image.Resampling.NEAREST))
        counts += np.bincount(labels[shown], minlength=counts.shape[0])
    return names.get(str(int(counts.argmax())), "background")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--load-config", type=Path, required=True)
    parser.add_argument("--ground-truth", type=Path, required=True)
    parser.add_argument("--encoder", choices=ENCODERS, default="colours")
    parser.add_argument("--clip-model", default="ViT-B-32")
    parser.add_argument("--clip-checkpoint", type=Path)
    args = parser.parse_args()
    encoder = open_encoder(args.encoder, args.clip_model, args.clip_checkpoint)
    run = open_run(args.load_config)
    names = json.loads((args.ground_truth / "labels.json").read_text())["coarse"]
    start = time.perf_counter()
    nodes, _ = index_of(run, encoder)
    seconds = time.perf_counter() - start
    print(f"index of {len(nodes)} clusters and nodes: {seconds:.1f} s, {seconds / len(nodes):.2f} s each (if not kept)")
    right = 0
    for wanted, colours in COLOURS.items():
        text = colours if args.encoder == "colours" else wanted
        node, score = find(run, encoder, text, "coarse")[0]
        found = object_of(run, node, args.ground_truth, names)
        right += found == wanted
        print(f"{'ok ' if found == wanted else 'not'} {wanted:9s} by {text!r}: {found}, relevancy {score:.2f}")
    print(f"top-1: {right} of {len(COLOURS)}")


if __name__ == "__main__":
    main()
