"""What the fake daemon tells of micrographs: rows with every verdict, one to its bottom, and drawn pictures."""

import math
from base64 import b64encode
from collections.abc import Mapping
from io import BytesIO
from typing import Any

from PIL import Image, ImageDraw

from tests.tui.scenes import NOW_S

KINDS = ("ctf_plot", "ctf_spectrum", "fft_picture", "motion_plot", "thumbnail")


def row(number: int, **more: Any) -> list[Any]:
    """A micrograph; every fifth is refused, one is rejected by hand, one accepted, one not judged, one set aside."""
    verdicts: dict[int, tuple[str, bool | None, str, str]] = {
        0: (
            "done",
            False,
            "ctf_resolution_ang",
            "ctf_resolution_ang: CTF fit resolution 12.1 Å, asked for at most 10 Å",
        ),
        3: ("done", False, "by hand", "by hand: rejected by anna@scope1 (operator): crack in the ice"),
        4: ("done", True, "by hand", "by hand: accepted by bo@scope1 (operator)"),
        7: ("complete", None, "", ""),
        8: ("quarantined", None, "", ""),
    }
    state, passes, gate, reason = verdicts.get(number % 10, ("done", True, "", ""))
    told = {
        "image_id": f"image-{number}",
        "name": f"24dec03a_{number:05d}ex",
        "movie_state": state,
        "passes": passes,
        "gate": gate,
        "reason": reason,
        "defocus_ang": None if passes is None else 9000.0 + 700 * number,
        "astigmatism_ang": None if passes is None else 80.0 + 31 * (number % 7),
        "fit_resolution_ang": None if passes is None else 3.5 + (number % 6),
        "score": None if passes is None else 0.31 - number / 100,
        "drift_ang": None if passes is None else 4.0 + (number % 9) * 3,
        "ice_ring": None if passes is None else 1.0 + (number % 4) / 5,
        "is_fit_confident": None if passes is None else number % 10 != 0,
        "warning": "",
    }
    return list((told | more).values())


def micrographs(images: int = 24, seq: int = 100) -> dict[str, Any]:
    """The answer to `micrographs`."""
    return {"session": "24dec03a", "seq": seq, "images": [row(number) for number in range(images)]}


def micrograph(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to `micrograph`."""
    name = str(arguments["image"])
    told = row(int(name[9:14]))
    frequency = [n / 600 for n in range(1, 180)]
    return {
        "session": "24dec03a",
        "image_id": told[0],
        "name": name,
        "passes": told[3],
        "gate": told[4],
        "reason": told[5],
        "mark": {"passes": False, "asked_by": "anna@scope1 (operator)", "why": "crack in the ice", "at_s": NOW_S - 600}
        if "rejected" in told[5]
        else None,
        "steps": [
            {
                "stage": stage,
                "task_id": f"task-{told[0]}-{stage}",
                "state": "completed",
                "reason": "",
                "metrics": metrics,
            }
            for stage, metrics in (
                ("motion_correction", {"total_motion_ang": told[10] or 0.0, "frame_count": 40, "pixel_size_ang": 1.0}),
                ("ctf_estimation", {"defocus_u_ang": 12345.0, "defocus_v_ang": 12001.0, "fit_resolution_ang": 3.51}),
                ("fft", {}),
                ("thumbnail", {}),
            )
        ],
        "pictures": [
            {"kind": kind, "stage": "fft", "size_bytes": 9000, "sha256": f"{kind} of {name}"} for kind in KINDS
        ],
        "path_ang": [[12 * (1 - math.exp(-n / 6)), 4 * math.sin(n / 9)] for n in range(40)],
        "curves": {
            "frequency_per_ang": frequency,
            "measured": [1 + 0.8 * math.exp(-6 * f) * math.cos(1300 * f * f) ** 2 for f in frequency],
            "fitted": [1 + 0.8 * math.exp(-6 * f) * math.cos(1300 * f * f + 0.1) ** 2 for f in frequency[:120]]
            + [None] * 59,
            "quality": [0.9] * 179,
        },
        "troubles": [],
    }


def picture(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to `picture`: frames in each other for spectra, a block for the rest; few colours, small snapshots."""
    image = Image.new("RGB", (96, 96), (60, 60, 60))
    draw = ImageDraw.Draw(image)
    for inset in (0, 16, 32) if "ctf" in arguments["kind"] or "fft" in arguments["kind"] else (24,):
        draw.rectangle((inset, inset, 95 - inset, 95 - inset), outline=(200, 200, 200), width=8)
    encoded = BytesIO()
    image.save(encoded, format="PNG")
    png = encoded.getvalue()
    return {
        "kind": arguments["kind"],
        "width_px": 96,
        "height_px": 96,
        "pieces": [b64encode(png[:100]).decode(), b64encode(png[100:]).decode()],
    }


ANSWERS: dict[str, Any] = {"micrographs": micrographs(), "micrograph": micrograph, "picture": picture}
