"""ctf_estimation with CTFFIND at work: what it is told, what is taken over and judged, how it may fail."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from daemon.engine.device import TorchDevice
from daemon.errors import ProgramFailed
from daemon.formats.rotational_average import read_rotational_average
from daemon.formats.star import read_star
from daemon.pipeline.product import ALIGNED, CTF_ROTATIONAL_AVERAGE, CTF_STAR, SPECTRUM
from daemon.stages.ctf_estimation import CtfEstimation, CtfParams
from daemon.stages.ctf_results import CtfMetrics
from tests.exchange.relion_ctf import read_ctf
from tests.numerics.thon_samples import make_spectrum
from tests.stages.fake_programs import fake_ctffind, write_program
from tests.stages.fakes import ACQUISITION, FakeContext, FakeInputs, make_item

SAMPLED = replace(ACQUISITION, pixel_size_ang=1.4)


def make_context(home: Path, spectrum_yx: Any = None) -> FakeContext:
    rings_yx = make_spectrum(13000, 12000, -60).spectrum_yx.numpy() if spectrum_yx is None else spectrum_yx
    return FakeContext(home, inputs=FakeInputs({SPECTRUM: rings_yx, ALIGNED: np.ones((32, 40), np.float32)}))


def choose(program: str, scratch: Path, **more: Any) -> CtfParams:
    return CtfParams.model_validate(
        {"backend": "program", "command": (program, "--threads", "{threads}"), "scratch_folder": scratch, **more}
    )


def run(params: CtfParams, context: FakeContext) -> CtfMetrics:
    metrics = CtfEstimation().run(make_item(acquisition=SAMPLED), params, context).metrics
    assert isinstance(metrics, CtfMetrics)
    return metrics


def test_its_numbers_are_taken_over_and_judged_by_the_spectrum(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    context = make_context(tmp_path / "home")
    metrics = run(choose(fake_ctffind(tmp_path), scratch), context)
    assert set(context.written) == set(CtfEstimation.produces)
    ctf = read_ctf(read_star(context.written[CTF_STAR]))
    assert ctf is not None
    assert (metrics.defocus_u_ang, metrics.defocus_v_ang) == pytest.approx((13020, 11980))
    assert (ctf.defocus_u_ang, ctf.astigmatism_angle_deg) == pytest.approx((13020, -60))
    assert (metrics.score, metrics.fit_resolution_ang) == (0.31, 4.2)
    assert metrics.confident
    assert metrics.ring_significance is not None
    assert metrics.ring_significance > 7
    assert metrics.program == str(tmp_path / "ctffind.py")
    assert len(read_rotational_average(context.written[CTF_ROTATIONAL_AVERAGE])) == 6
    assert list(scratch.iterdir()) == []
    assert context.steps


def test_it_may_use_the_threads_that_are_configured_whatever_the_machine_has(tmp_path: Path) -> None:
    context = replace(make_context(tmp_path / "home"), device=TorchDevice(torch.device("cpu"), threads=3))
    program = fake_ctffind(tmp_path)
    run(choose(program, tmp_path), context)
    assert context.logged.infos[0] == f"runs {program} --threads 3"


def test_numbers_that_the_rings_contradict_are_not_trusted(tmp_path: Path) -> None:
    metrics = run(choose(fake_ctffind(tmp_path, "25000 24000 -60 0 0.3 4.0"), tmp_path), make_context(tmp_path))
    assert not metrics.confident
    assert metrics.defocus_u_ang == pytest.approx(25000)
    assert "not to be trusted: no rings" in (metrics.warning or "")


@pytest.mark.parametrize(("version", "answers"), [(4, 17), (5, 19)])
def test_what_it_is_told(tmp_path: Path, version: int, answers: int) -> None:
    params = choose(fake_ctffind(tmp_path), tmp_path, ctffind_version=version, highest_resolution_ang=2.0)
    run(params, make_context(tmp_path))
    told = json.loads((tmp_path / "ctffind.heard").read_text())
    assert len(told) == answers
    assert told[2:6] == ["1.4", "300", "2.7", "0.1"]
    assert told[7:11] == ["30", "2.87", "3000", "50000"], "no finer than the micrograph's pixels allow"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("import sys; sys.exit('no such file')", "ended with status 1. It last said: no such file"),
        ("print('done')", r"left no spectrum.txt.*ctffind_version"),
        ("open('spectrum.txt', 'w').write('# nothing')", "spectrum.txt that can't be used: .* 0 rows"),
        ("open('spectrum.txt', 'w').write('1 nan nan 0 0 0 inf')", "not finite"),
        ("open('spectrum.txt', 'w').write('1 -9000 -9100 0 0 0.1 5')", "overfocus of 9050"),
        ("open('spectrum.txt', 'w').write('1 9000 8900 0 0 0.1 5')", "left no spectrum_avrot.txt"),
        (
            "open('spectrum.txt', 'w').write('1 9000 8900 0 0 0.1 5'); open('spectrum_avrot.txt', 'w').write('1 2 x')",
            "no table of rotational averages",
        ),
        (
            "open('spectrum.txt', 'w').write('1 9000 8900 0 0 0.1 5'); open('spectrum_avrot.txt', 'w').write('1 2 3')",
            "of 1 rows where 6 are known",
        ),
    ],
)
def test_what_is_of_no_use_is_refused(tmp_path: Path, body: str, words: str) -> None:
    context = make_context(tmp_path / "home")
    with pytest.raises(ProgramFailed, match=words):
        run(choose(write_program(tmp_path / "program.py", body), tmp_path), context)
    assert context.written == {}


def test_a_spectrum_without_power_makes_nothing_believed(tmp_path: Path) -> None:
    context = make_context(tmp_path, np.zeros((256, 256), np.float32))
    metrics = run(choose(fake_ctffind(tmp_path), tmp_path), context)
    assert (metrics.confident, metrics.defocus_u_ang) == (False, None)
    assert set(context.written) == set(CtfEstimation.produces)
