"""One thread at a time loads the compiler and its kernels: of two that import it at once, each may find half of it."""

import threading

LOADING = threading.RLock()
"""Held by whoever imports compiled kernels first: a reader, a look at a gain, or the thread that computes."""
