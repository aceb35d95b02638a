"""Everything that crosses a process: events, commands, replies and the subjects they travel on."""

from daemon.messages.catalogue import schema

__all__ = ["schema"]
