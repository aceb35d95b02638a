"""teamtomo's torch-ctf-estimation as a peer, in an interpreter of its own: one JSON line in, one JSON line out.

Run by `benchmarks/ctf_accuracy.py --peer-python PATH`. A request names an image (`.npy`, float32) and its optics; the
answer holds the peer's numbers as it reports them, in Å and degrees, and the seconds from image to numbers.
"""

import importlib
import importlib.metadata
import json
import math
import sys
import time
from typing import Any

import numpy as np
import torch

# Its defaults but for what it asks to be told, and a fitting pixel that reaches 4 Å: with its own 3 Å it sees 6 Å only.
RESOLUTIONS_ANG = (30.0, 4.0)
FITTING_PIXEL_ANG = 2.0
PATCH_PX = 512
DEFOCUS_UM = (0.3, 5.0)
TORCHVISION_OPERATORS = ("nms", "qnms")


def estimate(request: dict[str, Any]) -> dict[str, float]:
    """Let it estimate one image."""
    package = importlib.import_module("torch_ctf_estimation")
    image_yx = torch.from_numpy(np.load(request["path"]).astype(np.float32))
    optics = package.OpticalParams(
        pixel_spacing_angstroms=request["pixel_size_ang"],
        voltage_kev=request["voltage_kv"],
        spherical_aberration_mm=request["spherical_aberration_mm"],
        amplitude_contrast_fraction=request["amplitude_contrast"],
        target_pixel_spacing_angstroms=max(FITTING_PIXEL_ANG, request["pixel_size_ang"]),
    )
    fitting = package.CTFFittingParams(
        defocus_grid_resolution=(1, 1, 1),
        frequency_fit_range_angstroms=RESOLUTIONS_ANG,
        defocus_range_microns=DEFOCUS_UM,
        patch_sidelength=PATCH_PX,
        optimize_phase_shift=request["fit_phase"],
    )
    start = time.perf_counter()
    _, _, found = package.estimate_ctf(image_yx, optics, fitting, device=torch.device("cpu"))
    elapsed_s = time.perf_counter() - start
    return {
        "defocus_u_ang": 1e4 * float(found.defocus_u),
        "defocus_v_ang": 1e4 * float(found.defocus_v),
        "angle_deg": float(found.astigmatism_angle or 0.0),
        "phase_deg": float(found.phase_shift_degrees) if request["fit_phase"] else math.nan,
        "seconds": elapsed_s,
    }


def declare_operators() -> Any:
    """Let torchvision load that was built for CUDA beside a torch that was not.

    Its own operators are missing then, of which the peer uses none: they are declared, so that it can describe them,
    for as long as what is returned is there.
    """
    library: Any = importlib.import_module("torch.library").Library("torchvision", "FRAGMENT")
    for name in TORCHVISION_OPERATORS:
        try:
            importlib.import_module("torchvision")
        except RuntimeError as error:
            if f"operator torchvision::{name} does not exist" not in str(error):
                raise
            library.define(f"{name}(Tensor boxes) -> Tensor")
            for module in [loaded for loaded in sys.modules if loaded.split(".")[0] == "torchvision"]:
                del sys.modules[module]
    return library


def main(threads: int) -> None:
    """Introduce itself, then answer until there are no more requests."""
    torch.set_num_threads(threads)
    library = declare_operators()
    importlib.import_module("torch_ctf_estimation")
    print(json.dumps({"version": importlib.metadata.version("torch-ctf-estimation")}), flush=True)
    for line in sys.stdin:
        print(json.dumps(estimate(json.loads(line))), flush=True)
    del library


if __name__ == "__main__":
    main(int(sys.argv[1]))
