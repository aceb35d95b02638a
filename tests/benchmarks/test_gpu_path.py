"""The bench of the GPU path: it says what is unproven, and on a machine without a card still runs through."""

import pytest
import torch

from benchmarks.gpu_movies import draw_movie
from benchmarks.gpu_path import main


def test_without_a_card_all_is_unproven(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main([]) == 0
    assert "unproven" in capsys.readouterr().out


@pytest.mark.slow
def test_the_trial_walks_the_whole_way_and_gives_no_rate(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--trial"]) == 0
    told = capsys.readouterr().out
    assert "stay unproven" in told
    assert "movies/h" not in told
    for words in ("count the same", "estimate", "used again", "paths 0.00000 px apart"):
        assert words in told


def test_drawn_movies_move_as_is_said() -> None:
    movie_tyx, path_t2 = draw_movie((128, 160), 6, torch.device("cpu"), seed=1, electrons_per_px=40.0)
    assert movie_tyx.dtype == torch.uint8
    back_tyx = torch.stack(
        [frame.float().roll((-int(y), -int(x)), (0, 1)) for frame, (x, y) in zip(movie_tyx, path_t2, strict=True)]
    )
    aligned = torch.corrcoef(back_tyx.flatten(1))[0, 1:].mean()
    as_it_is = torch.corrcoef(movie_tyx.float().flatten(1))[0, 1:].mean()
    assert aligned > 0.3 > as_it_is
