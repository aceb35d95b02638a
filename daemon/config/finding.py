"""Which file is the configuration; apart from what reads it, which takes as long to load as the terminal to paint."""

from collections.abc import Mapping
from pathlib import Path


def find_config(explicit: Path | None, environ: Mapping[str, str]) -> Path | None:
    """Choose the file: the one named, $ELCANO_CONFIG, ./config.toml, the user's, the machine's; None without any."""
    if explicit is not None:
        return explicit
    if environ.get("ELCANO_CONFIG"):
        return Path(environ["ELCANO_CONFIG"])
    home = Path(environ["HOME"]) if environ.get("HOME") else None
    user = Path(environ["XDG_CONFIG_HOME"]) if environ.get("XDG_CONFIG_HOME") else home and home / ".config"
    places = [Path("config.toml"), user and user / "elcano" / "config.toml", Path("/etc/elcano/config.toml")]
    return next((place for place in places if place is not None and place.is_file()), None)
