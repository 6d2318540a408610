"""What made a run's segments, and what would make better ones: for the log, the run and the viewer."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from click_gaussian_ns.files import write_renamed
from click_gaussian_ns.masks.config import MaskConfig, flag

FILE = "segments.json"
"""In the run's folder."""


@dataclass(frozen=True)
class Provenance:
    """Of a run's segments."""

    generator: str
    what: str
    """The generator in words."""
    better: str
    """What would give better segments; empty where nothing is known to."""

    @property
    def sentence(self) -> str:
        """For the log and the viewer's panel."""
        return f"Segments: {self.what}." + (f" Better: {self.better}." if self.better else "")


def provenance(config: MaskConfig) -> Provenance:
    """Of the segments that a configuration gives; its generator is resolved, not `auto`."""
    generator = config.mask_generator
    if generator == "folder":
        return Provenance(generator, f"ready-made, from {config.mask_dir}", "")
    if generator == "superpixels":
        what = "superpixels, which know surfaces and colours but no objects"
        better = f"{flag('mask_generator', 'sam')}, or masks of any tool with {flag('mask_dir', 'DIR')}"
        return Provenance(generator, what, better)
    model = getattr(getattr(config, generator), "model", "")
    return Provenance(generator, f"{generator} {model}".strip(), "")


def write_provenance(run_dir: Path, found: Provenance) -> None:
    """Keep it in the run."""
    write_renamed(run_dir / FILE, (json.dumps(asdict(found), indent=2) + "\n").encode())


def read_provenance(run_dir: Path) -> Provenance | None:
    """Of a run; None of one that has none, as earlier versions made them."""
    try:
        values = json.loads((run_dir / FILE).read_text(encoding="utf8"))
        return Provenance(str(values["generator"]), str(values["what"]), str(values["better"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
