"""`elcano demo`: a session arrives, is processed, and the table compares it with its truth."""

import re
from pathlib import Path

from benchmarks.rig.facility import Facility


def test_a_headless_demo_ends_with_a_table_of_results(tmp_path: Path) -> None:
    facility = Facility.build(tmp_path / "elsewhere")
    home = tmp_path / "demo"
    arguments = ("demo", "--movies", "2", "--size", "tiny", "--rate", "0", "--headless", "--home", str(home))
    done = facility.run_command(*arguments)
    assert done.code == 0, done.err + done.out
    lines = done.out.splitlines()
    rows = [line for line in lines if line.startswith("│ demo-1_")]
    assert len(rows) == 2
    for row in rows:
        # drift, motion error, defocus U and V, each with its distance from the truth, resolution of the fit
        numbers = r"│ +\d+\.\d \([+-]\d+\.\d\) │ +0\.\d\d │ +\d+ \([+-]\d+\) │ +\d+ \([+-]\d+\) │ +(\d+\.\d|none) │"
        assert re.search(numbers, row)
    assert any(re.match(r"[12] of 2 agree with the truth", line) for line in lines)
    assert re.search(r"arrived \d/2, motion \d/2, CTF \d/2", done.err)
    results = home / "demo-1" / "home" / "demo-1"
    for name, pattern in re.findall(rf"^(\w+): {re.escape(str(results))}/(\S+)$", done.out, re.MULTILINE):
        assert len(list(results.glob(pattern))) == 2, name
    assert (home / "demo-1" / "elcano.log").stat().st_size > 0
    (command,) = [line for line in lines if line.startswith("ask: ")]
    assert str(home / "demo-1" / "config.toml") in command
