"""Pure functions on tensors: no disk, clock, log, loop or project type."""
