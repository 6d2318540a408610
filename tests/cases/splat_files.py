"""Files of Gaussians as other tools leave them, made of a plain .ply."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from plyfile import PlyData, PlyElement


class Plain:
    """The plain scene's columns, and ways to write them."""

    def __init__(self, path: Path, num: int = 600) -> None:
        self.data = PlyData.read(str(path))["vertex"].data[:num].copy()
        self.num = len(self.data)
        self.names = [name for name in self.data.dtype.names if name not in ("nx", "ny", "nz")]
        self.columns = {name: self.data[name].astype(np.float64) for name in self.names}

    def table(self, names: list[str], dtype: str = "<f4", **changed: np.ndarray | float) -> np.ndarray:
        made = np.zeros(self.num, [(name, dtype) for name in names])
        for name in names:
            made[name] = changed.get(name, self.columns.get(name, 0.0))
        return made

    def noise(self, count: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(0)
        return {f"f_rest_{i}": rng.normal(0, 0.05, self.num) for i in range(count)}


def write(
    path: Path, table: np.ndarray, text: bool = False, order: str = "<", comments=(), before=(), after=()
) -> Path:
    elements = [*before, PlyElement.describe(table, "vertex"), *after]
    PlyData(elements, text=text, byte_order="=" if text else order, comments=list(comments)).write(str(path))
    return path
