"""The doctor's side in a mount namespace of its own: asks on standard output, reads the answers from standard input.

Run by test_mounts.py as `unshare -m python mount_namespace.py HOME ROOT hide|share`; `hide` lays an empty file
system over HOME that nobody outside sees.
"""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from daemon.sessions.mount_check import check_mounts


def say(what: dict[str, Any]) -> None:
    """Write one line."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def ask(name: str, arguments: dict[str, Any]) -> Any:
    """Ask the other side."""
    say({"name": name, "arguments": arguments})
    return json.loads(sys.stdin.readline())


def main() -> None:
    """Check, then print the verdicts."""
    home, root = Path(sys.argv[1]), Path(sys.argv[2])
    if sys.argv[3] == "hide":
        subprocess.run(["mount", "-t", "tmpfs", "none", str(home)], check=True)
    verdicts = [asdict(verdict) for verdict in check_mounts(home, [root], ask, host="doctor", patience_s=0)]
    say({"verdicts": verdicts})


if __name__ == "__main__":
    main()
