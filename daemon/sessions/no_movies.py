"""Why files that look like movies are left alone: reasons that people are told of, not of every one by itself."""

from daemon.domain.names import unwritable_name

SINGLE_IMAGE = "a single image, not a movie: 1 frame(s)"
LINK_OUTSIDE = "a symbolic link that leaves the allowed roots"
FOLDER_OUTSIDE = "a symbolic link to a folder outside the allowed roots"
NAME_UNWRITABLE = "its name holds a line break or another control character: rename it"
NAME_NOT_UTF8 = "its name is not UTF-8: rename it"


def unwritable_reason(name: str) -> str:
    """Return why a movie of this name is left alone; empty where its name can be told."""
    problem = unwritable_name(name)
    return f"its name {problem}: rename it" if problem else ""
