"""How much memory is free, and how many replicas fit into it."""

from pathlib import Path

import pytest

from pipeline_lib.errors import ConfigError
from pipeline_lib.estimation.pooling import group_sizes
from pipeline_lib.training.memory import _left_by_control_groups, free_memory, most_that_fit


@pytest.mark.parametrize("n_replicas", range(2, 14))
@pytest.mark.parametrize("available", range(8))
def test_no_group_is_larger_than_what_fits(n_replicas: int, available: int) -> None:
    fewest = 3 if n_replicas % 2 else 2  # groups of 2 alone would leave one over
    if available < fewest:
        with pytest.raises(ConfigError, match=f"{'three' if fewest == 3 else 'two'} replicas take"):
            most_that_fit(lambda n: n, n_replicas, "cpu", "b = 1", available, share=1.0)
        return
    at_once = most_that_fit(lambda n: n, n_replicas, "cpu", "b = 1", available, share=1.0)
    sizes = group_sizes(n_replicas, at_once)
    assert sum(sizes) == n_replicas
    assert 2 <= min(sizes) <= max(sizes) <= available


def control_groups(folder: Path, lines: str, files: dict[str, str]) -> list[int]:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "membership").write_text(lines)
    return _left_by_control_groups(folder, folder / "membership")


def test_limits_of_control_groups(tmp_path: Path) -> None:
    left = control_groups(
        tmp_path,
        "0::/job/step\n",
        {
            "job/memory.max": "1000\n",
            "job/memory.current": "300\n",
            "job/memory.stat": "anon 1\ninactive_file 100\n",
            "job/step/memory.max": "max\n",
            "job/step/memory.current": "300\n",
            "job/step/memory.stat": "inactive_file 0\n",
        },
    )
    assert left == [800]


def test_limits_of_control_groups_of_version_1(tmp_path: Path) -> None:
    left = control_groups(
        tmp_path,
        "9:cpu,cpuacct:/a\n4:memory:/of/host\n0::/\n",
        {
            "memory/memory.limit_in_bytes": "1000\n",
            "memory/memory.usage_in_bytes": "1500\n",
            "memory/memory.stat": "total_inactive_file 100\n",
        },
    )
    assert left == [0]


def test_free_memory_is_capped_by_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert free_memory() > 2**20
    monkeypatch.setattr(
        "pipeline_lib.training.memory._left_by_control_groups", lambda: [12345, 2**60]
    )
    assert free_memory() == 12345
