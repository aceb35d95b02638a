"""What people have stated, or put beside the movies, and cannot be so."""

from collections.abc import Sequence
from pathlib import Path

from daemon.errors.base import ElcanoError, Problem
from daemon.errors.files import FileUnreadable

READ_AGAIN = (
    "then run `elcano import` with the session's directory; the session.json of a directory right under a watched root "
    "is read again by itself"
)
"""What to do after a session.json or a `[[session]]` entry of config.toml was corrected."""


class ConfigurationInvalid(ElcanoError):
    """config.toml or its environment overrides hold wrong keys or values; all of them are listed."""

    kind = "configuration"

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        lines = "\n".join(f"  - {problem}" for problem in problems)
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        super().__init__(f"{source}: {count} in the configuration:\n{lines}")


class ManifestInvalid(ElcanoError):
    """session.json cannot be used; every problem is listed with its key path."""

    kind = "manifest"

    def __init__(self, path: Path, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        lines = "; ".join(str(problem) for problem in self.problems)
        super().__init__(
            f"{path}: not a usable session.json: {lines}.", hint="Mend or remove the file: it is read again by itself."
        )


class PathOutsideRoots(ElcanoError):
    """A path from a manifest, message or configuration leads outside the allowed roots."""

    kind = "path_outside_roots"

    def __init__(self, path: Path, roots: Sequence[Path]) -> None:
        listed = ", ".join(str(root) for root in roots)
        super().__init__(
            f"{path} lies outside the allowed roots ({listed}).",
            hint="Move the data, or add its root to [watch] roots in config.toml.",
        )


class MountMismatch(ElcanoError):
    """A shared folder is not the same place for everyone who names it: what one wrote there, another does not read."""

    kind = "mount_mismatch"

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(
            f"{path}: {what}.", hint="Mount the same file system at the same path everywhere, then try again."
        )


class ReferenceUnsuitable(ElcanoError):
    """An image of the camera does not fit the movie: shape, or values it cannot have. Raised as one of the next."""

    kind = "reference_unsuitable"

    def __init__(self, path: Path, what: str) -> None:
        word = self.kind.removesuffix("_unsuitable")
        super().__init__(
            f"{word.capitalize()} reference {path}: {what}.",
            hint=f"Put the right file there, then retry; or name it as acquisition.{word} in session.json or in a "
            f"[[session]] entry of config.toml, {READ_AGAIN}.",
        )


class GainUnsuitable(ReferenceUnsuitable):
    """A gain reference does not fit the movie."""

    kind = "gain_unsuitable"


class DarkUnsuitable(ReferenceUnsuitable):
    """A dark reference does not fit the movie."""

    kind = "dark_unsuitable"


class DefectsUnsuitable(ReferenceUnsuitable):
    """A file of defects does not fit the movie, holds lines that are no rectangles, or leaves hardly a good pixel."""

    kind = "defects_unsuitable"


class ReferenceUnreadable(FileUnreadable):
    """The file of an image of the camera is not there, or is not given; `what` is gain, dark or defects."""

    def __init__(self, what: str, path: Path, error: OSError) -> None:
        super().__init__(path, error)
        self.message = f"{what.capitalize()} reference {self.message}"
        do = "Let the user that runs elcano read it" if isinstance(error, PermissionError) else "Put the file there"
        self.hint = (
            f"{do}, then run `elcano retry --session NAME`; or correct its path, which is acquisition.{what} in "
            f"session.json or in a [[session]] entry of config.toml, {READ_AGAIN}."
        )


class AcquisitionUnknown(ElcanoError):
    """A physical parameter is in neither session.json, the movie header nor config.toml."""

    kind = "acquisition_unknown"

    def __init__(self, parameters: str | Sequence[str], where: str) -> None:
        names = [parameters] if isinstance(parameters, str) else list(parameters)
        are, them = ("is", "it") if len(names) == 1 else ("are", "them")
        super().__init__(
            f"{' and '.join(names)} of {where} {are} unknown: neither session.json, the movie's header nor config.toml "
            f"gives {them}.",
            hint=f"Set {' and '.join(f'acquisition.{name}' for name in names)} in session.json or in a [[session]] "
            f"entry of config.toml, {READ_AGAIN}: what failed runs again.",
        )


class SimulationInvalid(ElcanoError):
    """A simulated session was asked for that cannot be made, or its place is taken."""

    kind = "simulation"
