"""Write the pages that are generated from the code: the event catalogue and config.toml (`make docs`)."""

from pathlib import Path

from daemon.app.parameters import stage_parameters
from daemon.config.reference import write_reference
from daemon.messages.event_page import render_page

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Write both."""
    (ROOT / "docs" / "events.md").write_text(render_page(), encoding="utf-8")
    (ROOT / "config.toml").write_text(write_reference(stage_parameters()), encoding="utf-8")


if __name__ == "__main__":
    main()
