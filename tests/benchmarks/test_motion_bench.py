"""The motion benchmark: movies as programs read them, errors and costs as they are printed."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.motion.cases import CASES, Case, CaseImpossible, PreparedMovie, prepare, scale
from benchmarks.motion.elcano_job import Job
from benchmarks.motion.gpu import least_seconds
from benchmarks.motion.judgement import Bounds, MotionTruth, field_error_px, on_judging_grid, picture_information
from benchmarks.motion.processes import Cost, MemoryWatch, ProgramFailed, family_of, memory_bytes, run_program
from benchmarks.motion.programs import (
    Attempt,
    Elcano,
    find_teamtomo,
    parse_relion_version,
    relion_command,
    write_relion_input,
)
from benchmarks.motion.report import judge, row_line, summary_lines
from benchmarks.motion_ctf import measure_ctf, measure_movie, parse_arguments
from daemon.domain.acquisition import EerFractions, GainReference
from daemon.domain.motion import MotionField
from daemon.formats.gain import read_gain
from daemon.formats.movie import read_movie, read_movie_header
from daemon.formats.star import find_block, read_star
from daemon.numerics.bounds import whole_frame_bound_px
from daemon.numerics.simulation_detector import draw_gain, seed_generator

TINY = {
    "k3": replace(CASES["k3"], shape_yx=(96, 128), frames=3),
    "eer": replace(CASES["eer"], shape_yx=(96, 128), frames=3, raw_per_frame=4),
    "small": replace(CASES["small"], shape_yx=(96, 128), frames=3),
}


@pytest.fixture(scope="module", params=list(TINY))
def prepared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PreparedMovie:
    return prepare(TINY[request.param], 5, tmp_path_factory.mktemp("movies"))


def gain_of(prepared: PreparedMovie) -> GainReference:
    return GainReference(prepared.gain, flip="y" if prepared.is_gain_flipped else "none")


def test_what_lies_on_disk_is_what_was_simulated(prepared: PreparedMovie) -> None:
    """The gain fits, as it lies and is told, whatever the format: its drawing is repeated from the seed."""
    case = prepared.case
    header = read_movie_header(prepared.movie)
    eer = EerFractions(fractions=case.frames)
    movie_tyx = read_movie(header, eer=eer)
    assert movie_tyx.shape == (case.frames, *case.shape_yx)
    counts_yx, expected = movie_tyx.sum(axis=0, dtype=np.int64), case.frames * case.electrons_per_px
    hot_yx = counts_yx > 5 * expected + 5
    assert counts_yx[~hot_yx].mean() == pytest.approx(expected, rel=0.15)
    drawn_yx = draw_gain(case.shape_yx, seed_generator(prepared.seed)).numpy()
    np.testing.assert_allclose(read_gain(gain_of(prepared), header, eer=eer), drawn_yx, rtol=1e-6)
    assert header.frame_count == case.frames * case.raw_per_frame


def test_rows_lie_alike_in_movie_and_gain(tmp_path: Path) -> None:
    """Counts follow 1 / gain: summed over frames and columns they show how the gain lies, hot pixels apart."""
    prepared = prepare(replace(TINY["k3"], frames=40), 1, tmp_path)
    header = read_movie_header(prepared.movie)
    sum_yx = read_movie(header, eer=EerFractions()).sum(axis=0, dtype=np.float64)
    gain_yx = read_gain(gain_of(prepared), header)
    rate_yx = 1 / gain_yx

    def correlate(other_yx: Any) -> float:
        calm = sum_yx < np.percentile(sum_yx, 95)
        return float(np.corrcoef(sum_yx[calm], other_yx[calm])[0, 1])

    assert correlate(rate_yx) > correlate(rate_yx[::-1]) + 0.02


def test_a_kept_movie_is_found_again_and_not_taken_for_another(prepared: PreparedMovie) -> None:
    before = prepared.movie.stat()
    root = prepared.folder.parent
    assert prepare(prepared.case, prepared.seed, root) == prepared
    assert prepared.movie.stat().st_mtime_ns == before.st_mtime_ns
    with pytest.raises(CaseImpossible, match="holds another movie"):
        prepare(replace(prepared.case, pixel_size_ang=2.0), prepared.seed, root)


def test_truth_survives_its_file(tmp_path: Path) -> None:
    truth = MotionTruth(torch.rand(4, 17, 17, 2, dtype=torch.float64), torch.rand(4, 2, 4, 2, dtype=torch.float64))
    truth.save(tmp_path / "truth.npz")
    found = MotionTruth.load(tmp_path / "truth.npz")
    assert torch.equal(found.field_tyx2, truth.field_tyx2)
    assert torch.equal(found.information, truth.information)


def test_a_common_shift_is_no_error_and_a_difference_is() -> None:
    true_tyx2 = torch.rand(4, 17, 17, 2, dtype=torch.float64)
    rms_px, worst_px = field_error_px(true_tyx2 + torch.tensor([3.0, -7.0]), true_tyx2)
    assert max(rms_px, worst_px) < 1e-12
    wrong_tyx2 = true_tyx2.clone()
    wrong_tyx2[0, 0, 0, 0] += 4.0
    rms_px, worst_px = field_error_px(wrong_tyx2, true_tyx2)
    assert worst_px == pytest.approx(3.0)
    assert rms_px == pytest.approx(np.sqrt((3**2 + 3 * 1**2) / (4 * 17 * 17)))
    with pytest.raises(ValueError, match="the true one has"):
        field_error_px(true_tyx2[:3], true_tyx2)


def test_motion_of_a_star_reaches_the_judging_grid() -> None:
    rows = np.linspace(0, 1, 13)
    local_tyx2 = np.zeros((2, 13, 13, 2))
    local_tyx2[1, :, :, 0] = rows[:, None] ** 2
    field_tyx2 = on_judging_grid(MotionField(300, 200, np.array([[0.0, 0.0], [1.0, -2.0]]), local_tyx2))
    expected_y = torch.linspace(0, 1, 17, dtype=torch.float64) ** 2
    torch.testing.assert_close(field_tyx2[1, :, 3, 0], 1.0 + expected_y)
    torch.testing.assert_close(field_tyx2[1, :, :, 1], torch.full((17, 17), -2.0, dtype=torch.float64))


def test_the_bound_of_a_picture_is_that_of_its_white_spectrum() -> None:
    """White noise of variance v, n frames of e electrons: the closed form of a fading signal that does not fade."""
    size, frames, electrons, spread = 256, 5, 0.8, 0.4
    picture_yx = 1 + spread * torch.randn(size, size, generator=seed_generator(1))
    found_px = whole_frame_bound_px(picture_information(picture_yx, frames, electrons))
    power, noise = spread**2, 1 / electrons
    per_bin = 2 * power**2 * frames / (noise * (noise + power * frames))
    # Over half a disc of radius ½ the mean of (2π kx)² is π²/4, and it holds π/8 of the bins.
    per_axis = per_bin * np.pi / 8 * size**2 * np.pi**2 / 4
    assert found_px == pytest.approx(np.sqrt(2 * (frames - 1) / frames / per_axis), rel=0.05)


def test_bounds_grow_with_the_model(prepared: PreparedMovie) -> None:
    bounds = Bounds.of(prepared.truth().information)
    assert 0 < bounds.whole_frame_px < bounds.field_px < bounds.fine_field_px


def test_memory_is_that_of_a_program_and_its_children_together() -> None:
    """100 MB held by a child of the child and 60 by itself, and nothing of what the parent holds."""
    inner = "import sys; held = bytearray(100_000_000); sys.stdin.read()"
    outer = f"import subprocess, sys; held = bytearray(60_000_000); subprocess.run([sys.executable, '-c', {inner!r}])"
    held = bytearray(400_000_000)
    with subprocess.Popen([sys.executable, "-c", outer], stdin=subprocess.PIPE) as process:
        watch = MemoryWatch(process.pid)
        until_s = time.monotonic() + 60
        while watch.peak_bytes < 160e6 and time.monotonic() < until_s:
            os.sched_yield()
        process.communicate()
    assert 160e6 <= watch.stop() < 300e6
    assert len(held) == 400_000_000


def test_a_program_that_has_ended_needs_no_memory() -> None:
    with subprocess.Popen([sys.executable, "-c", "pass"]) as process:
        process.wait()
        assert memory_bytes(process.pid) == (0, 0)
    assert family_of(process.pid) == [process.pid]


def test_the_cost_of_a_program_and_what_it_says(tmp_path: Path) -> None:
    work = "print(sum(range(100_000)))"
    cost = run_program([sys.executable, "-c", work], tmp_path / "log", cwd=tmp_path, environment={})
    assert cost.wall_s > 0
    assert cost.cpu_s > 0
    assert (tmp_path / "log").read_text() == "4999950000\n"


def test_a_program_that_fails_says_why(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; print('no such movie'); sys.exit(3)"]
    with pytest.raises(ProgramFailed, match=r"ended with code 3: no such movie"):
        run_program(command, tmp_path / "log", cwd=tmp_path, environment={})
    with pytest.raises(ProgramFailed, match="No such file"):
        run_program([str(tmp_path / "missing")], tmp_path / "log", cwd=tmp_path, environment={})


@pytest.mark.parametrize(
    ("said", "version"),
    [("RELION version: 3.1.3 \nPrecision: BASE=double\n", "3.1.3"), ("RELION version:\n", "unknown"), ("", "unknown")],
)
def test_relion_tells_its_version(said: str, version: str) -> None:
    assert parse_relion_version(said) == version


def test_relion_is_told_what_each_format_needs(prepared: PreparedMovie, tmp_path: Path) -> None:
    command = relion_command(prepared, 2)
    suffix = prepared.movie.suffix
    assert ("--gain_flip" in command) == (suffix == ".tif")
    assert ("--eer_grouping" in command) == (suffix == ".eer")
    if suffix == ".eer":
        assert command[command.index("--eer_grouping") + 1] == "4"
    rows, columns = prepared.case.patches_yx
    assert command[command.index("--patch_x") + 1] == str(columns)
    assert command[command.index("--patch_y") + 1] == str(rows)
    write_relion_input(tmp_path / "movies.star", prepared)
    movies = find_block(read_star(tmp_path / "movies.star"), "movies")
    assert movies is not None
    assert movies.strings("rlnMicrographMovieName") == [prepared.movie.name]


def test_a_peer_that_is_not_there_is_none(tmp_path: Path) -> None:
    assert find_teamtomo(None, 2) is None
    assert find_teamtomo(tmp_path / "python", 2) is None


def test_our_own_process_corrects_a_movie(tmp_path: Path) -> None:
    """From the file to micrographs that can be judged, twice over when more movies follow the first."""
    prepared = prepare(replace(CASES["small"], shape_yx=(192, 256), frames=4), 2, tmp_path)
    rows = measure_movie(prepared, [Elcano(1, warm_movies=2)])
    assert [row.program for row in rows] == ["Elcano"]
    answer = rows[0].attempt.answer
    assert set(answer["steps_s"]) == {"read", "copy up", "estimate", "sum", "copy down", "tell", "last writes"}
    assert min(answer["steps_s"].values()) >= 0
    assert 0 < sum(answer["steps_s"].values()) <= answer["wall_s"] * 1.001
    assert answer["warm_s_per_movie"] > 0
    assert rows[0].attempt.loading_s > 0
    assert rows[0].peak_gb > 0.05
    assert sorted(path.name for path in prepared.folder.iterdir()) == [
        "case.json",
        "gain.mrc",
        "movie.mrc",
        "truth.npz",
    ]


class Broken:
    """A program that always fails."""

    name, version = "broken", "0"

    def correct(self, prepared: PreparedMovie, work: Path) -> Attempt:
        raise ProgramFailed("it wrote no movie.star")


def test_a_failing_peer_is_said_and_left_out(prepared: PreparedMovie, capsys: pytest.CaptureFixture[str]) -> None:
    assert measure_movie(prepared, [Broken()]) == []
    assert "FAILED: it wrote no movie.star" in capsys.readouterr().out


def row_of(program: str, seed: int, wall_s: float, shift_px: float) -> Any:
    true_tyx2 = torch.zeros(2, 17, 17, 2, dtype=torch.float64)
    found_tyx2 = true_tyx2.clone()
    found_tyx2[1, :, :, 0] = 2 * shift_px
    attempt = Attempt(Cost(wall_s, 2 * wall_s, round(3e9 * wall_s)), found_tyx2, true_tyx2)
    truth = MotionTruth(true_tyx2, torch.zeros(2, 2, 2, 2))
    return judge(program, seed, attempt, truth, Bounds(0.1, 0.2, 0.4))


def test_rows_stand_beside_their_bounds() -> None:
    line = row_line(row_of("RELION", 3, 1.0, 0.3))
    assert "error 0.300 px = 3.00 | 1.50 | 0.75 bounds, worst 0.30 px (0.000 without its local motion)" in line


def test_ratios_are_peer_by_elcano_movie_by_movie() -> None:
    rows = [row_of("Elcano", 0, 1.0, 0.1), row_of("RELION", 0, 7.0, 0.2), row_of("Elcano", 1, 2.0, 0.1)]
    rows += [row_of("RELION", 1, 10.0, 0.4), row_of("RELION", 2, 900.0, 9.0)]
    ratios, goals = summary_lines(rows, CASES["k3"])
    assert ratios.startswith("  RELION / Elcano: time 6.00×, CPU time 6.00×, memory 6.00×, error 3.00×")
    assert "speed 6.00 × RELION's (reached)" in goals
    assert "error 0.50 bounds (reached)" in goals
    assert "peak less decoded movie 5.06 GB (NOT reached)" in goals
    assert "error without a goal" in summary_lines(rows, CASES["micrograph"])[1]


def test_the_least_time_on_a_gpu_is_bytes_by_bandwidth() -> None:
    case = Case("one", "movie.tif", (1000, 1000), 1, 1.0, 1.0, (5, 5))
    least_s = least_seconds(case.decoded_bytes, memory_bytes_per_s=1e9, upload_bytes_per_s=1e8)
    assert least_s == pytest.approx({"copy up": 0.01, "estimate": 0.021, "sum": 0.049})


def test_the_command_line_names_cases_and_sizes() -> None:
    wish = parse_arguments(["--case", "k3", "--case", "small", "--size", "512"])
    assert wish.case == ["k3", "small"]
    assert scale(CASES["k3"], wish.size).shape_yx == (512, 512)
    assert scale(CASES["k3"], None) == CASES["k3"]
    with pytest.raises(SystemExit):
        parse_arguments(["--seeds", "0"])


def test_the_other_half_is_named_with_its_peer(capsys: pytest.CaptureFixture[str]) -> None:
    assert measure_ctf(parse_arguments(["--peer-python", "peer/bin/python"]))
    assert "-m benchmarks.ctf_accuracy --peer-python peer/bin/python" in capsys.readouterr().out


def test_a_job_travels_as_json() -> None:
    """What is sent is read back as the same job, by name."""
    job = Job("m.tif", "g.mrc", True, "home", 1.0, 300.0, 2.7, 0.1, 1.5, 20, "cpu", 2)
    assert Job(**vars(job)) == job
