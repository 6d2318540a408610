"""Free memory: the machine's, or the container's where that is less."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from click_gaussian_ns.masks import memory

MACHINE = 64 * 2**30


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: SimpleNamespace(available=MACHINE))


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_without_limits_it_is_the_machines(tmp_path: Path) -> None:
    assert memory.free_memory_bytes(tmp_path) == MACHINE
    write(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"})
    assert memory.free_memory_bytes(write(tmp_path, {"sys/fs/cgroup/memory.current": "5000\n"})) == MACHINE


def test_the_limit_of_a_parent_group_counts_and_cached_files_are_free(tmp_path: Path) -> None:
    group = "sys/fs/cgroup/user.slice"
    write(tmp_path, {"proc/self/cgroup": "0::/user.slice/job\n", f"{group}/job/memory.max": "max\n"})
    write(tmp_path, {f"{group}/memory.max": "9000\n", f"{group}/memory.current": "8000\n"})
    write(tmp_path, {f"{group}/memory.stat": "anon 4000\ninactive_file 3000\n"})
    assert memory.free_memory_bytes(tmp_path) == 4000


def test_version_1_in_a_container_that_sees_the_hosts_path(tmp_path: Path) -> None:
    group = "sys/fs/cgroup/memory"
    write(tmp_path, {"proc/self/cgroup": "5:cpu,cpuacct:/docker/ab\n4:memory:/docker/ab\n0::/\n"})
    write(tmp_path, {f"{group}/memory.limit_in_bytes": "9000\n", f"{group}/memory.usage_in_bytes": "10000\n"})
    assert memory.free_memory_bytes(tmp_path) == 0
    write(tmp_path, {f"{group}/memory.stat": "inactive_file 1\ntotal_inactive_file 3000\n"})
    assert memory.free_memory_bytes(tmp_path) == 2000
