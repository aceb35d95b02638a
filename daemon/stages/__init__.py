"""The steps of the pipeline; a new one is one file here and one line below."""

from daemon.pipeline.graph import AnyStage
from daemon.stages.ctf_estimation import CtfEstimation
from daemon.stages.fft import Fft
from daemon.stages.motion_correction import MotionCorrection
from daemon.stages.thumbnail import Thumbnail

MOVIE_STAGES: tuple[AnyStage, ...] = (MotionCorrection(), CtfEstimation(), Fft(), Thumbnail())
"""Every movie stage, in the order in which the Jobs panel shows them."""
