"""Free memory is the smaller of the machine's and of what is left of a group's limit."""

import pytest

from qpsim.execution.memory import available_memory, readable

GB = 10**9


@pytest.fixture
def system(tmp_path):
    """Files as Linux has them: 20 GB free, and no limit."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal: 24000000 kB\nMemAvailable: 20000000 kB\n")
    return tmp_path


def left(system):
    return available_memory(system / "proc", system / "groups")


def limited(folder, names, limit, usage, stat):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in zip(names, (limit, usage), strict=True):
        (folder / name).write_text(f"{text}\n")
    (folder / "memory.stat").write_text(stat)


def test_without_a_limit_it_is_what_the_machine_has_free(system):
    assert left(system) == 20000000 * 1024
    assert available_memory(system / "none", system / "none") != 0


def test_the_least_of_the_limits_around_a_process_holds(system):
    (system / "proc/self/cgroup").write_text("0::/batch/job\n")
    names = ("memory.max", "memory.current")
    limited(system / "groups/batch/job", names, "max", 3 * GB, "anon 5\ninactive_file 1000000000\n")
    assert left(system) == 20000000 * 1024
    limited(system / "groups/batch", names, 8 * GB, 3 * GB, "anon 5\ninactive_file 1000000000\n")
    assert left(system) == 6 * GB
    limited(system / "groups/batch/job", names, 4 * GB, 3 * GB, "inactive_file 0\n")
    assert left(system) == GB
    limited(system / "groups/batch/job", names, 4 * GB, 5 * GB, "inactive_file 0\n")
    assert left(system) == 0


def test_a_container_sees_its_limit_at_the_root(system):
    (system / "proc/self/cgroup").write_text("0::/\n")
    names = ("memory.max", "memory.current")
    limited(system / "groups", names, 2 * GB, GB, "inactive_file 0\n")
    assert left(system) == GB


def test_groups_of_the_first_kind_are_read_as_well(system):
    (system / "proc/self/cgroup").write_text("5:cpu:/job\n4:memory,hugetlb:/job\n")
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
    limited(system / "groups/memory/job", names, 3 * GB, GB, "total_inactive_file 500000000\n")
    assert left(system) == 2.5 * GB
    limited(system / "groups/memory/job", names, 2**63 - 4096, GB, "total_inactive_file 0\n")
    assert left(system) == 20000000 * 1024


@pytest.mark.parametrize("content", ["", "nonsense\n", "0::\n", "4:memory\n", "a:b:c:d\n"])
def test_what_cannot_be_read_is_no_limit(system, content):
    (system / "proc/self/cgroup").write_text(content)
    assert left(system) == 20000000 * 1024


def test_sizes_are_readable():
    assert [readable(n) for n in (0, 1500, 2e6, 3.4e12)] == ["0.0 kB", "1.5 kB", "2.0 MB", "3.4 TB"]
