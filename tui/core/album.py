"""Pictures that were fetched, the latest looked at kept, up to so many bytes."""

from collections import OrderedDict
from collections.abc import Hashable

_MOST_BYTES = 24 * 2**20


class Album:
    """PNG bytes by what they are of."""

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._kept: OrderedDict[Hashable, bytes] = OrderedDict()
        self.size_bytes = 0

    def get(self, key: Hashable) -> bytes | None:
        """Return a picture that is kept."""
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def put(self, key: Hashable, png: bytes) -> None:
        """Keep a picture, and let those go that were not looked at for longest."""
        self.size_bytes += len(png) - len(self._kept.pop(key, b""))
        self._kept[key] = png
        while self.size_bytes > self._most_bytes:
            self.size_bytes -= len(self._kept.popitem(last=False)[1])
