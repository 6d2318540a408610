"""How much memory this process may still take: what the machine has left, or its container, whichever is less."""

from __future__ import annotations

from pathlib import Path

import psutil

_GROUP_FILES = {
    "sys/fs/cgroup": ("memory.max", "memory.current", "inactive_file"),
    "sys/fs/cgroup/memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}
"""Where control groups of version 2 and of version 1 are, and their files of limit and use; the entry of memory.stat
that says how much of the use is cached files, which make room when asked for."""


def free_memory_bytes(root: Path = Path("/")) -> int:
    """Free main memory; files cached in it count as free. `root`: of the machine's file system, for tests."""
    return max(0, min([psutil.virtual_memory().available, *_left_in_groups(root)]))


def _left_in_groups(root: Path) -> list[int]:
    """What every control group around this process has left; empty where there is none with a limit."""
    left: list[int] = []
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        base = "sys/fs/cgroup/memory" if controllers else "sys/fs/cgroup"
        # in a container the path may be the host's, of which only the top is mounted: the parents go up to that
        for group in (Path(path.lstrip("/")), *Path(path.lstrip("/")).parents):
            left += _left_in_group(root / base / group, *_GROUP_FILES[base])
    return left


def _left_in_group(group: Path, limit_file: str, used_file: str, cached_name: str) -> list[int]:
    limit, used = _read(group / limit_file).strip(), _read(group / used_file).strip()
    if not limit.isdigit() or not used.isdigit():
        return []
    pairs = (line.split() for line in _read(group / "memory.stat").splitlines())
    cached = next((int(pair[1]) for pair in pairs if pair[0] == cached_name), 0)
    return [int(limit) - int(used) + cached]


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
