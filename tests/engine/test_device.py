"""The compute thread, the device, the gain cache and the witness."""

import threading
from concurrent.futures import CancelledError
from pathlib import Path

import numpy as np
import pytest
import torch

from daemon.domain.acquisition import EerFractions, GainReference
from daemon.domain.movie import MovieFormat, MovieHeader
from daemon.engine.compute import ComputeThread, is_out_of_memory
from daemon.engine.device import TorchDevice, choose_device
from daemon.engine.inputs import CameraCache
from daemon.errors import FileUnreadable, GainUnsuitable
from daemon.formats.mrc_writer import write_mrc


def test_work_runs_on_one_thread_by_priority() -> None:
    compute = ComputeThread("cpu", 1)
    try:
        gate = threading.Event()
        ran: list[str] = []
        first = compute.submit(lambda: gate.wait(10), priority=9)
        low = compute.submit(lambda: ran.append("low"), priority=5)
        dropped = compute.submit(lambda: ran.append("dropped"), priority=2)
        high = compute.submit(lambda: ran.append("high"), priority=1)
        names = [compute.submit(lambda: threading.current_thread().name, priority=6) for _ in range(3)]
        assert dropped.cancel()
        gate.set()
        assert first.result(10)
        low.result(10)
        assert high.done()
        assert ran == ["high", "low"]
        assert {name.result(10) for name in names} == {"compute-cpu"}
        with pytest.raises(CancelledError):
            dropped.result(10)
        with pytest.raises(ZeroDivisionError):
            compute.submit(lambda: 1 / 0, priority=1).result(10)
        assert compute.submit(torch.get_num_threads, priority=1).result(10) == 1
    finally:
        compute.close()


def test_stages_know_how_many_threads_they_may_use() -> None:
    compute = ComputeThread("cpu", 3)
    device = compute.load().result(60)
    compute.close()
    assert device.threads == 3


def test_what_is_queued_is_done_before_the_end() -> None:
    compute = ComputeThread("cpu", 1)
    results = [compute.submit(lambda number=number: number, priority=number) for number in range(5)]  # type: ignore[misc]
    compute.close()
    assert [result.result(0) for result in results] == list(range(5))


def test_an_array_is_not_there_twice_and_outlives_who_brought_it() -> None:
    device = TorchDevice(torch.device("cpu"))
    fixed = np.arange(6, dtype=np.float32)
    fixed.flags.writeable = False
    tensor, place = device.put(fixed), fixed.ctypes.data
    assert tensor.data_ptr() == place
    assert not fixed.flags.writeable
    del fixed
    assert device.get(tensor).tolist() == [0, 1, 2, 3, 4, 5]
    assert device.put(np.zeros((0, 3), np.float32)).shape == (0, 3)
    assert device.put(np.arange(6).reshape(2, 3).T).shape == (3, 2)
    assert device.get(torch.arange(6).reshape(2, 3).T).flags.c_contiguous


def test_choice_of_device() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    wanted = "cuda" if torch.cuda.is_available() else "cpu"
    assert choose_device("auto").type == wanted
    if wanted == "cpu":
        with pytest.raises(ValueError, match="no usable CUDA device"):
            choose_device("cuda:1")


def test_what_counts_as_out_of_memory() -> None:
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not is_out_of_memory(RuntimeError("CUDA error: an illegal memory access"))


def header(movie_format: MovieFormat = MovieFormat.MRC) -> MovieHeader:
    return MovieHeader(Path("x.mrc"), movie_format, 10, 8, 3, "uint8", None, 240)


def test_a_gain_is_read_once_and_again_when_its_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "gain.mrc"
    write_mrc(path, np.full((8, 10), 2.0, np.float32), pixel_size_ang=1.0)
    cache, reference = CameraCache(), GainReference(path)
    gain_yx = cache.gain(reference, header(), EerFractions())
    assert gain_yx[0, 0] == 2.0
    assert cache.gain(reference, header(), EerFractions()) is gain_yx
    write_mrc(path, np.full((8, 10), 4.0, np.float32), pixel_size_ang=1.0)
    import os

    os.utime(path, ns=(1, 1))
    assert cache.gain(reference, header(), EerFractions())[0, 0] == 4.0
    with pytest.raises(ValueError, match="read-only"):
        gain_yx[0, 0] = 1.0


def test_an_upsampled_movie_gets_an_upsampled_gain(tmp_path: Path) -> None:
    path = tmp_path / "gain.mrc"
    write_mrc(path, np.full((8, 10), 2.0, np.float32), pixel_size_ang=1.0)
    cache, reference = CameraCache(), GainReference(path)
    plain = cache.gain(reference, header(MovieFormat.EER), EerFractions())
    fine = cache.gain(reference, header(MovieFormat.EER), EerFractions(upsampling=2))
    assert (plain.shape, fine.shape) == ((8, 10), (16, 20))
    assert plain[0, 0] == 0.5  # an MRC gain divides EER movies


@pytest.mark.parametrize("is_there", [True, False])
def test_a_gain_that_cannot_be_read_says_what_it_is_where_it_was_named_and_to_retry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_there: bool
) -> None:
    gain, why, do = tmp_path / "gain.mrc", "No such file or directory", "Put the file there"
    if is_there:
        write_mrc(gain, np.ones((8, 10), np.float32), pixel_size_ang=1.0)
        why, do = "Permission denied", "Let the user that runs elcano read it"

        def read(*_: object, **__: object) -> None:
            raise FileUnreadable(gain, PermissionError(13, why))

        monkeypatch.setattr("daemon.engine.inputs.read_gain", read)
    with pytest.raises(FileUnreadable) as raised:
        CameraCache().gain(GainReference(gain), header(), EerFractions())
    assert raised.value.message == f"Gain reference {gain}: cannot be read: {why}."
    assert raised.value.hint.startswith(
        f"{do}, then run `elcano retry --session NAME`; or correct its path, which is acquisition.gain in session.json "
        "or in a [[session]] entry of config.toml, then run `elcano import`"
    )
    assert (raised.value.kind, raised.value.retryable) == ("file_unreadable", True)


def test_a_gain_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    path = tmp_path / "short.mrc"
    path.write_bytes(b"\0" * 2000)
    with pytest.raises(GainUnsuitable, match=r"short\.mrc"):
        CameraCache().gain(GainReference(path), header(), EerFractions())
    write_mrc(tmp_path / "square.mrc", np.ones((9, 9), np.float32), pixel_size_ang=1.0)
    with pytest.raises(GainUnsuitable, match="9 × 9 px"):
        CameraCache().gain(GainReference(tmp_path / "square.mrc"), header(), EerFractions())
