"""How much memory tensors take at once."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


class StorageCount(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Within, counts the bytes of all tensors that are made and still there; not what an operation takes inside.

    `peak_bytes` is the most there were. Tensors from before count once they are used, but those of `known`.
    """

    def __init__(self, *known: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak_bytes = 0
        self._known = {tensor.untyped_storage()._cdata for tensor in known}
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self._at_most = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run an operation and count what comes out."""
        del types
        result = func(*args, **(kwargs or {}))
        for each in tree_iter(result):
            if isinstance(each, Tensor):
                self._count(each)
        if self._at_most > self.peak_bytes:
            gone = [key for key, (storage, _) in self._alive.items() if storage.expired()]  # type: ignore[no-untyped-call]
            self._forget(*gone)
            self.peak_bytes = max(self.peak_bytes, self._at_most)
        return result

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known or (key in self._alive and not self._alive[key][0].expired()):  # type: ignore[no-untyped-call]
            return
        if key in self._alive:
            self._forget(key)
        self._alive[key] = StorageWeakRef(storage), storage.nbytes()  # type: ignore[no-untyped-call]
        self._at_most += storage.nbytes()

    def _forget(self, *keys: int) -> None:
        for key in keys:
            self._at_most -= self._alive.pop(key)[1]
