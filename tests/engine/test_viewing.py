"""Looking at micrographs: all at a glance and what changed since, one to its bottom, and its pictures."""

from collections.abc import Awaitable, Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

from daemon.engine.viewing import Viewing
from daemon.errors import CommandRefused, FileUnreadable, PathOutsideRoots
from daemon.formats.png import write_png
from daemon.messages.micrographs import MicrographAnswer, MicrographsAnswer, PictureAnswer
from daemon.store.changes import ArtifactRecord, PutArtifacts
from tests.engine.asking import ask_over_wire
from tests.engine.desk import Desk
from tests.engine.test_gates import LEAST, MOST, STAGES

pytestmark = pytest.mark.anyio
OpenDesk = Callable[..., Awaitable[Desk]]
CURVES = "# Image: low\n" + "\n".join(
    " ".join(str(value) for value in row) for row in ([0.1, 0.2], [1, 1], [1.5, 2], [1, "nan"], [0.9, 0.1], [0, 0])
)


class Window:
    """A desk, and its micrographs as a terminal sees them."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.viewing = Viewing(desk.shop.engine, desk.shop.session_home.parent)

    async def ask(self, name: str, **arguments: Any) -> Any:
        """Ask, and bring the answer over the wire."""
        asked = {"session": "session1", **arguments}
        return await ask_over_wire(self.viewing.handlers(), name, asked, "bob (viewer)")

    async def all(self, after: int | None = None) -> MicrographsAnswer:
        return msgspec.convert(await self.ask("micrographs", after=after), MicrographsAnswer)

    async def one(self, image: str = "low") -> MicrographAnswer:
        return msgspec.convert(await self.ask("micrograph", image=image), MicrographAnswer)

    async def picture(self, kind: str = "thumbnail", **more: Any) -> PictureAnswer:
        return msgspec.convert(await self.ask("picture", image="low", kind=kind, **more), PictureAnswer)

    async def put_file(self, kind: str, name: str, content: bytes, sha256: str = "1") -> Path:
        """Have a file of the micrograph `low`."""
        shop = self.desk.shop
        path = shop.session_home / "seen" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        image_id = (await self.all()).images[0].image_id
        record = ArtifactRecord(shop.session_id, f"seen/{name}", kind, len(content), sha256, "", "draw", image_id)
        await shop.store.commit(PutArtifacts((record,)))
        return path


@pytest.fixture
async def window(open_desk: OpenDesk) -> Window:
    desk = await open_desk(stages=STAGES, gates=(MOST, LEAST), limits={"most": 950.0})
    await desk.finish("low", "middle", seeds=(8, 1))
    return Window(desk)


def png_of(picture: np.ndarray[Any, Any], folder: Path) -> bytes:
    path = folder / "made.png"
    write_png(path, picture)
    return path.read_bytes()


async def test_micrographs_are_told_with_verdicts_and_then_only_what_changed(window: Window) -> None:
    told = await window.all()
    assert [(row.name, row.movie_state, row.passes, row.gate) for row in told.images] == [
        ("low", "done", True, ""),
        ("middle", "done", False, "most"),
    ]
    assert told.images[1].reason.startswith("most: total ")
    assert (await window.all(told.seq)).images == []

    await window.desk.ask("image.reject", session="session1", images=["low"], why="ice")
    news = await window.all(told.seq)
    assert [(row.name, row.passes, row.gate) for row in news.images] == [("low", False, "by hand")]
    await window.desk.ask("session.thresholds", session="session1", limits={"most": None})
    assert [(row.name, row.passes) for row in (await window.all(news.seq)).images] == [("middle", True)]
    with pytest.raises(CommandRefused, match="no session 'other'"):
        await window.ask("micrographs", session="other")


async def test_one_micrograph_is_told_to_its_bottom(window: Window) -> None:
    await window.desk.ask("image.accept", session="session1", images=["low"], why="fine")
    one = await window.one()
    assert [(step.stage, step.state) for step in one.steps][:2] == [("add", "completed"), ("divide", "completed")]
    assert one.steps[1].metrics["total"] == pytest.approx(946, abs=1)
    assert one.mark is not None
    assert (one.mark.passes, one.mark.asked_by, one.mark.why) == (True, "ada (operator)", "fine")
    assert (one.passes, one.gate, one.curves, one.path_ang, one.troubles) == (True, "by hand", None, [], [])
    with pytest.raises(CommandRefused, match="no micrograph high in session1"):
        await window.one("high")


async def test_curves_are_told_and_what_cannot_be_read_is_no_obstacle(window: Window) -> None:
    path = await window.put_file("ctf_rotational_average", "low_avrot.txt", CURVES.encode())
    one = await window.one()
    assert one.curves is not None
    assert (one.curves.frequency_per_ang, one.curves.measured) == ([0.1, 0.2], [1.5, 2.0])
    assert one.curves.fitted == [1.0, None]
    path.write_text("rubbish")
    one = await window.one()
    assert one.curves is None
    assert "low_avrot.txt" in one.troubles[0]


async def test_pictures_are_made_small_and_kept(window: Window, tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (600, 300), dtype=np.uint8)
    path = await window.put_file("thumbnail", "low.png", png_of(noise, tmp_path))
    one = await window.one()
    assert [(picture.kind, picture.stage) for picture in one.pictures] == [("thumbnail", "draw")]
    small = await window.picture(longest_px=200)
    assert (small.width_px, small.height_px) == (100, 200)
    assert Image.open(BytesIO(b"".join(small.pieces))).size == (100, 200)
    assert max(map(len, small.pieces)) <= 48 * 1024
    path.unlink()
    assert await window.picture(longest_px=200) == small
    with pytest.raises(FileUnreadable, match=r"low\.png"):
        await window.picture(longest_px=201)
    with pytest.raises(CommandRefused, match="has no picture 'ctf_plot'") as refused:
        await window.picture("ctf_plot")
    assert refused.value.hint == "It has: thumbnail."


async def test_another_picture_of_the_same_place_is_read_again(window: Window, tmp_path: Path) -> None:
    grey = np.zeros((8, 8), dtype=np.uint8)
    await window.put_file("thumbnail", "low.png", png_of(grey, tmp_path))
    before = await window.picture()
    await window.put_file("thumbnail", "low.png", png_of(grey + 99, tmp_path), sha256="2")
    assert await window.picture() != before


async def test_nothing_outside_the_home_is_shown(window: Window, tmp_path: Path) -> None:
    path = await window.put_file("thumbnail", "low.png", b"")
    path.unlink()
    secret = tmp_path / "secret.png"
    secret.write_bytes(png_of(np.zeros((8, 8), dtype=np.uint8), tmp_path))
    path.symlink_to(secret)
    with pytest.raises(PathOutsideRoots):
        await window.picture()
    path.unlink()
    path.write_bytes(b"no picture")
    with pytest.raises(FileUnreadable):
        await window.picture()
