"""The pictures that a task made, below each other."""

from pathlib import PurePath

from textual.containers import Vertical

from daemon.messages.micrographs import PictureInfo
from daemon.messages.panel import TaskAnswer
from tui.core.album import Album
from tui.widgets.picture_pane import PicturePane, picture_order

_SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})
_SPECTRUM = "ctf_spectrum"


class TaskPictures(Vertical):
    """As many panes as there are pictures, made anew only when there are others."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's word
        super().__init__(id=id)
        self._album = Album()
        self._shown: list[PictureInfo] = []

    def show(self, task: TaskAnswer) -> None:
        """Show the pictures among a task's files."""
        pictures = [
            PictureInfo(kind=file.kind, stage=task.stage, size_bytes=file.size_bytes, sha256=file.sha256)
            for file in task.files
            if PurePath(file.path).suffix.lower() in _SUFFIXES or file.kind == _SPECTRUM
        ]
        pictures.sort(key=picture_order)
        if pictures == self._shown:
            return
        self._shown = pictures
        self.run_worker(self._mount_panes(task, pictures), exclusive=True, group="pictures")

    async def _mount_panes(self, task: TaskAnswer, pictures: list[PictureInfo]) -> None:
        await self.remove_children()
        panes = [PicturePane(self._album) for _ in pictures]
        await self.mount_all(panes)

        def look() -> None:
            for pane, info in zip(panes, pictures, strict=True):
                if pane.is_attached:
                    pane.look_at(task.session, task.image, info)

        self.call_after_refresh(look)  # their size says how large a picture is asked for
