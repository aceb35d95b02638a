"""Stand-ins for MotionCor and CTFFIND: they read what the real ones read and leave files in the real ones' layouts."""

import sys
from pathlib import Path

_MOTIONCOR = """
import json, pathlib, struct, sys
import numpy as np

words = sys.argv[1:]
option = {word: words[place + 1] for place, word in enumerate(words[:-1]) if word.startswith("-")}
patches = words[words.index("-Patch") + 1 : words.index("-Patch") + 3]
pathlib.Path(sys.argv[0]).with_suffix(".heard").write_text(json.dumps(words))


def read(path):
    raw = pathlib.Path(path).read_bytes()
    x, y, z, mode = struct.unpack("<4i", raw[:16])
    kind = {0: "i1", 1: "<i2", 2: "<f4", 6: "<u2"}[mode]
    return np.frombuffer(raw[1024 + struct.unpack("<i", raw[92:96])[0] :], kind).reshape(z, y, x)


def write(path, image):
    header = bytearray(1024)
    size = (image.shape[1], image.shape[0], 1)
    struct.pack_into("<10i", header, 0, *size, 2, 0, 0, 0, *size)
    struct.pack_into("<6f3i", header, 40, *image.shape[::-1], 1, 90, 90, 90, 1, 2, 3)
    header[208:216] = b"MAP \\x44\\x44\\x00\\x00"
    pathlib.Path(path).write_bytes(bytes(header) + image.astype("<f4").tobytes())


if "-InTiff" in option:
    import tifffile
    movie, frames = option["-InTiff"], tifffile.imread(option["-InTiff"])[:, ::-1]  # the bottom row first
else:
    movie, frames = option["-InMrc"], read(option["-InMrc"])
frames = frames.astype("f4")
if "-Dark" in option:
    frames = frames - read(option["-Dark"])
if "-Gain" in option:
    frames = frames * read(option["-Gain"])
out = pathlib.Path(option["-OutMrc"])
write(out, frames.sum(0))
if "-FmDose" in option:
    write(out.with_name(out.stem + "_DW.mrc"), frames.sum(0) / 2)
if option["-SplitSum"] == "1":
    write(out.with_name(out.stem + "_EVN.mrc"), frames[0::2].sum(0))
    write(out.with_name(out.stem + "_ODD.mrc"), frames[1::2].sum(0))
name = pathlib.Path(movie).name
stem = name[: min(name.lower().find(end) for end in (".mrc", ".tif") if end in name.lower())]
rows = "".join(f"{f + 1:4d} {-1.5 * f:9.2f} {0.75 * f:9.2f}\\n" for f in range(len(frames)))
if patches == ["0", "0"]:
    print("Full-frame alignment shift")
    for f in range(len(frames)):
        print(f"...... Frame ({f + 1:3d}) shift: {-1.5 * f:9.3f} {0.75 * f:9.3f}")
else:
    log = "# Patch based alignment\\n# Initial alignment based upon full frames\\n\\n" + rows
    pathlib.Path(option["-LogDir"] + stem + "-Patch-Full.log").write_text(log)
    across, down = (int(count) for count in patches)
    height, width = frames.shape[1:]
    log = "# Patch based alignment\\n# Number of patches: %d\\n# Shifts are listed per patch.\\n" % (across * down)
    log += "# Movie size: %d  %d  %d\\n\\n" % (width, height, len(frames))
    for patch in range(across * down):
        x, y = (patch % across + 0.5) * width / across, (patch // across + 0.5) * height / down
        log += "#Patch %03d raw and fit shifts\\n" % (patch + 1)
        for f in range(len(frames)):
            shift = (2 * f * (x / (width - 1) - 0.5) + 3, 0.1 * f * f)
            log += "%4d %8.2f %8.2f %8.2f %8.2f %4d\\n" % (f + 1, x, y, *shift, 0)
        log += "\\n"
    pathlib.Path(option["-LogDir"] + stem + "-Patch-Patch.log").write_text(log)
print("Total time: 3.141 sec")
"""

_CTFFIND = """
import json, pathlib, sys

answers = sys.stdin.read().splitlines()
pathlib.Path(sys.argv[0]).with_suffix(".heard").write_text(json.dumps(answers))
micrograph, spectrum, pixel, voltage, cs, contrast = answers[:6]
header = pathlib.Path(micrograph).read_bytes()[:4]
assert len(header) == 4
text = pathlib.Path(spectrum).with_suffix(".txt")
text.write_text(
    "# Output from CTFFind version 4.1.14, run on 2025-02-13 21:14:21\\n"
    f"# Input file: {micrograph} ; Number of micrographs: 1\\n"
    f"# Pixel size: {pixel} Angstroms ; acceleration voltage: {voltage} keV\\n"
    "# Columns: #1 - micrograph number; #2 - defocus 1 [Angstroms]; #3 - defocus 2; #4 - azimuth of astigmatism; ...\\n"
    "1.000000 NUMBERS\\n"
)
rows = "".join(" ".join(f"{0.01 * row + 0.002 * ring:.6f}" for ring in range(64)) + "\\n" for row in range(6))
text.with_name(text.stem + "_avrot.txt").write_text("# 6 lines per micrograph: #1 - spatial frequency\\n" + rows)
print("Estimated defocus values        : ...")
"""


def write_program(path: Path, body: str) -> str:
    """Write a Python program that can be run, and return its path."""
    path.write_text(f"#!{sys.executable}\n{body}", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


def fake_motioncor(folder: Path) -> str:
    """A MotionCor3: sums frames unaligned, halves them when weighting, tells shifts of (−1.5, 0.75) px a frame.

    Of its patches it tells (2 z x, 0.1 z²) px beside that, z the frame from 0, x from −0.5 to 0.5, and 3 px in all x.

    It turns the rows of TIFF movies round as the real one does (TiffUtil of MotionCor3), and keeps its arguments beside
    itself in `MotionCor3.heard`.
    """
    return write_program(folder / "MotionCor3.py", _MOTIONCOR)


def fake_ctffind(folder: Path, numbers: str = "13020.0 11980.0 -60.0 0.000000 0.310000 4.200000") -> str:
    """A CTFFIND that always finds the same; it keeps the answers it was given in `ctffind.heard`."""
    return write_program(folder / "ctffind.py", _CTFFIND.replace("NUMBERS", numbers))
