"""The composition root: the parts of a daemon built from its settings, and run together."""
