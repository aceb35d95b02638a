"""What the arguments of every command and query have in common."""

from typing import Annotated

import msgspec

LONGEST_REASON = 500
LONGEST_ASKER = 200

Reason = Annotated[str, msgspec.Meta(max_length=LONGEST_REASON)]
"""Why somebody asks for something: it is kept with each image and task that it concerns."""
Asker = Annotated[str, msgspec.Meta(max_length=LONGEST_ASKER)]
"""Who says to ask."""


class Arguments(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every command's and query's arguments."""
