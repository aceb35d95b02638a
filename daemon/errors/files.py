"""Files that are not what they should be, or that the operating system does not give or take."""

from pathlib import Path

from daemon.errors.base import ElcanoError

MAKE_AGAIN = "Run the stage that makes it again: elcano reprocess STAGE --image NAME."
COPY_AGAIN = "Copy it again from the camera while the original is still there."
"""What to do about a movie whose bytes are not what the camera wrote."""


class FormatError(ElcanoError):
    """A file is not what its format demands; the bytes will not get better by themselves."""

    kind = "format"

    def __init__(self, path: Path, what: str, *, hint: str = "") -> None:
        self.path = path
        super().__init__(f"{path}: {what}.", hint=hint)


class FormatUnsupported(FormatError):
    """A file is whole, but of a kind that Elcano does not read."""

    kind = "format_unsupported"


class MovieIncomplete(FormatError):
    """A movie's bytes end before its own structure says they should, or its end was never written."""

    kind = "movie_incomplete"

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(path, what, hint=COPY_AGAIN)


class FileUnreadable(ElcanoError):
    """The operating system refuses to give a file's bytes (permission, stale handle, input/output error)."""

    kind = "file_unreadable"
    retryable = True

    def __init__(self, path: Path, error: OSError) -> None:
        self.path = path
        self.os_error = error
        hint = "Check permissions and the mount as the user that runs elcano."
        if isinstance(error, FileNotFoundError):
            hint = "Check the path, and whether the file system that it names is mounted."
        elif isinstance(error, PermissionError):
            hint = "Let the user that runs elcano read it."
        super().__init__(f"{path}: cannot be read: {error.strerror or error}.", hint=hint)


class MovieUnreadable(FileUnreadable):
    """The operating system refuses the bytes of a movie that had been proven whole."""

    kind = "movie_unreadable"


class MovieChanged(ElcanoError):
    """A movie is not the file any more that was proven whole: written again, or another one has its name."""

    kind = "movie_changed"
    retryable = True

    def __init__(self, path: Path, what: str) -> None:
        self.path = path
        super().__init__(
            f"{path}: it is not the file any more that was proven whole: {what}.",
            hint="Nothing is made of it as it is: watching takes it up as the next revision of this movie.",
        )


class FileNotWritten(ElcanoError):
    """An output could not be written (full disk, quota, permission)."""

    kind = "file_not_written"
    retryable = True

    def __init__(self, path: Path, error: OSError) -> None:
        self.path = path
        super().__init__(
            f"{path}: cannot be written: {error.strerror or error}.",
            hint="Check free space, quota and permissions of the session home.",
        )


class DiskFull(FileNotWritten):
    """An output could not be written because its file system, or somebody's quota on it, has no room left."""

    kind = "disk_full"


class ReadStuck(ElcanoError):
    """A read of a movie does not return: its file system hangs. The movie is read again once it answers."""

    kind = "read_stuck"
    retryable = True

    def __init__(self, path: Path, limit_s: float) -> None:
        super().__init__(
            f"{path}: reading it has not returned for {limit_s:.0f} s.",
            hint="Its file system hangs: check the mount. The movie is taken up again when it answers.",
        )


class FileUnanswered(ElcanoError):
    """A look at a file or directory does not return: its file system hangs."""

    kind = "file_unanswered"
    retryable = True

    def __init__(self, path: Path, limit_s: float) -> None:
        self.path = path
        super().__init__(f"{path}: has not answered for {limit_s:g} s.", hint="Its file system hangs: check the mount.")


class ProductMissing(ElcanoError):
    """A stage needs a product of an earlier stage that is not on disk."""

    kind = "product_missing"

    def __init__(self, product: str, path: Path) -> None:
        super().__init__(f"{product} is missing: {path}.", hint=MAKE_AGAIN)


class ProductDamaged(ElcanoError):
    """A product of an earlier stage is on disk, but it is not what that stage wrote."""

    kind = "product_damaged"

    def __init__(self, product: str, error: FormatError) -> None:
        super().__init__(f"{product} is damaged: {error.message}", hint=MAKE_AGAIN)
