"""teamtomo's torch-motion-correction as a peer, in an interpreter of its own: `teamtomo_motion.py REQUEST ANSWER`.

Run by `benchmarks/motion_ctf.py --peer-python PATH`; both are JSON files. It reads the movie, estimates the motion of
patches by cross-correlation with the package's defaults, corrects every frame, and writes their sum, which the package
leaves to its users; it does not weight by dose. The answer holds the seconds from file to file, and the
motion on a grid, in px, lies beside it as `.npy`.
"""

import importlib
import importlib.metadata
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

PACKAGE = "torch-motion-correction"


def read_movie(request: dict[str, Any]) -> npt.NDArray[Any]:
    """Read a movie; TIFF rows are turned upside down, EER hardware frames summed to frames."""
    tifffile, mrcfile = importlib.import_module("tifffile"), importlib.import_module("mrcfile")
    path, frames = Path(request["movie"]), int(request["frames"])
    if path.suffix == ".mrc":
        with mrcfile.open(path, permissive=True) as mrc:
            return np.array(mrc.data).view(np.uint8)
    with tifffile.TiffFile(path) as tiff:
        if path.suffix == ".tif":
            return np.ascontiguousarray(tiff.asarray(key=slice(None), maxworkers=request["threads"])[:, ::-1])
        group = len(tiff.pages) // frames
        movie_tyx = np.zeros((frames, *tiff.pages[0].shape), np.uint8)
        for index, page in enumerate(tiff.pages[: group * frames]):
            movie_tyx[index // group] += page.asarray()
    return movie_tyx


def read_gain(request: dict[str, Any]) -> npt.NDArray[np.float32]:
    """Read the gain that multiplies, as the movie lies."""
    mrcfile = importlib.import_module("mrcfile")
    with mrcfile.open(request["gain"]) as mrc:
        gain_yx = np.array(mrc.data, dtype=np.float32)
    if Path(request["movie"]).suffix == ".eer":
        gain_yx = np.reciprocal(gain_yx)
    return np.ascontiguousarray(gain_yx[::-1]) if request["is_gain_flipped"] else gain_yx


def correct(request: dict[str, Any], motion_file: Path) -> dict[str, Any]:
    """Estimate, correct, sum, write."""
    package, mrcfile = importlib.import_module("torch_motion_correction"), importlib.import_module("mrcfile")
    pixel_size_ang, nodes = request["pixel_size_ang"], request["grid_nodes"]
    cpu_before_s, begun = time.process_time(), time.perf_counter()
    movie_tyx = torch.from_numpy(read_movie(request)).to(torch.float32)
    movie_tyx *= torch.from_numpy(read_gain(request))
    side = request["patch_px"]
    field, _ = package.estimate_motion_cross_correlation_patches(
        movie_tyx, pixel_size_ang, package.PatchSamplingConfig(patch_shape=(side, side))
    )
    with torch.no_grad():
        corrected_tyx = package.correct_motion(movie_tyx, field, pixel_size_ang)
        sum_yx = corrected_tyx.sum(dim=0).numpy()
    with mrcfile.new(request["sum"], overwrite=True) as mrc:
        mrc.set_data(sum_yx)
        mrc.voxel_size = pixel_size_ang
    wall_s, cpu_s = time.perf_counter() - begun, time.process_time() - cpu_before_s
    # It deals in (y, x) and Å, and in our sign: where a point of the specimen is seen.
    times = torch.linspace(0, 1, len(movie_tyx)).tolist()
    with torch.no_grad():
        motion = torch.stack([field.evaluate_at_t(t, (nodes, nodes)) for t in times])
    np.save(motion_file, motion.flip(1).permute(0, 2, 3, 1).double().numpy() / pixel_size_ang)
    return {"wall_s": wall_s, "cpu_s": cpu_s, "version": importlib.metadata.version(PACKAGE)}


def main(request_file: Path, answer_file: Path) -> None:
    """Load, correct, answer."""
    request = json.loads(request_file.read_text(encoding="utf-8"))
    torch.set_num_threads(request["threads"])
    begun = time.perf_counter()
    importlib.import_module("torch_motion_correction")
    loading_s = time.perf_counter() - begun
    answer = correct(request, answer_file.with_suffix(".npy"))
    answer_file.write_text(json.dumps({"loading_s": loading_s, **answer}), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
