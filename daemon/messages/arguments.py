"""What the arguments of every command and query have in common."""

import msgspec


class Arguments(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every command's and query's arguments."""
