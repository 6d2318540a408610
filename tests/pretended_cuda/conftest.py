"""The package on a pretended CUDA device. The scenes of the unit tests serve here, too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit"))
