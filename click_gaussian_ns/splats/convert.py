"""Other tools' files of Gaussians to and from .ply, by gaussforge in a process of its own.

Its native code ends the process on some damaged files, and takes what memory a header asks for: here it can take
nothing with it. One call costs about 0.2 s more than the conversion.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FORMAT_OF_ENDING = {
    ".compressed.ply": "compressed.ply",
    ".splat": "splat",
    ".ksplat": "ksplat",
    ".spz": "spz",
    ".sog": "sog",
    ".ply": "ply",
}
"""gaussforge's names."""

_MIN_MEMORY = 1 << 29
_MEMORY_PER_BYTE = 64
"""A file of the densest format has a tenth of the .ply's size, and its reader holds a few copies of that."""
_SPLAT_BYTES = 32
_CONVERT = """
import sys
source, source_format, target, target_format, memory = sys.argv[1:]
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (int(memory), int(memory)))
except (ImportError, ValueError):
    pass
try:
    import gaussforge
except ImportError:
    sys.exit("the library gaussforge is missing: pip install gaussforge")
forge = gaussforge.GaussForge()
data = open(source, "rb").read()
try:
    found = forge.convert(data, source_format, target_format)
    if "data" not in found:
        sys.exit(" ".join(str(found.get("error")).split()))
    info = forge.get_model_info(data, source_format, len(data))
except Exception as error:
    sys.exit(f"{type(error).__name__}: {error}")
open(target, "wb").write(found["data"])
print("antialiased" if info.get("data", {}).get("rendering", {}).get("antialiased") else "classic")
"""


def ending_of(path: Path) -> str | None:
    """Which of `FORMAT_OF_ENDING` a file's name ends in, whatever its case; None: none."""
    name = path.name.lower()
    return next((ending for ending in FORMAT_OF_ENDING if name.endswith(ending)), None)


def convert_file(source: Path, source_format: str, target: Path, target_format: str) -> bool:
    """Write `target` anew from `source`; formats are values of `FORMAT_OF_ENDING`.

    Returns:
        Whether the source says that its Gaussians are to be drawn in the mode "antialiased".

    Raises:
        ValueError: the source is empty, damaged or of another format.
    """
    size = source.stat().st_size
    advice = "Export or copy the file again, or save it as .ply with the program that made it."
    if size == 0:
        raise ValueError(f"{source}: the file is empty (0 bytes). {advice}")
    if source_format == "splat" and size % _SPLAT_BYTES:
        raise ValueError(f"{source}: cut off, its {size} bytes are no whole number of Gaussians ({_SPLAT_BYTES} each)")
    memory = _MIN_MEMORY + _MEMORY_PER_BYTE * size
    command = [sys.executable, "-c", _CONVERT, str(source), source_format, str(target), target_format, str(memory)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if done.returncode != 0 or not target.is_file() or target.stat().st_size == 0:
        reason = done.stderr.strip().splitlines()[-1:] or ["its reader broke off"]
        raise ValueError(
            f"{source}: cannot be read as a file of Gaussians of the kind {source_format} ({reason[0]}). {advice}"
        )
    return done.stdout.strip().endswith("antialiased")
