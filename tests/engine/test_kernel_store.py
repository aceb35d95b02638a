"""Where compiled kernels are kept."""

from pathlib import Path

import pytest

from daemon.engine.kernel_store import KernelStore
from daemon.errors import ComputeUnavailable


def test_others_may_not_read_it_and_older_versions_are_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    (tmp_path / "kernels" / "older").mkdir(parents=True)
    kernels = KernelStore(tmp_path / "kernels")
    kernels.keep()
    assert kernels.is_ours
    assert list((tmp_path / "kernels").iterdir()) == [kernels.directory]
    assert kernels.is_empty()
    (kernels.directory / "numerics").mkdir()
    (kernels.directory / "numerics" / "warp_cpu.warp-1.py311.1.nbc").touch()
    assert not kernels.is_empty()
    assert kernels.directory.stat().st_mode & 0o077 == 0
    monkeypatch.delenv("NUMBA_CACHE_DIR")


def test_where_somebody_else_says_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "theirs"))
    kernels = KernelStore(tmp_path / "kernels")
    kernels.keep()
    assert not kernels.is_ours
    assert not (tmp_path / "kernels").exists()


def test_a_place_that_cannot_be_made_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    (tmp_path / "kernels").write_text("a file")
    with pytest.raises(ComputeUnavailable, match="kernels cannot be kept in"):
        KernelStore(tmp_path / "kernels").keep()
    monkeypatch.delenv("NUMBA_CACHE_DIR")
