"""How the files that were written are browsed: counted, listed with what became of them, and seen."""

from collections.abc import Callable
from io import BytesIO
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

from daemon.engine.file_answers import FileAnswers
from daemon.errors import CommandRefused, PathOutsideRoots
from daemon.formats.mrc_writer import write_mrc
from daemon.formats.star import StarBlock, write_star
from daemon.messages.files import ArtifactFilesAnswer, ArtifactsAnswer, ColumnsAnswer, SliceAnswer
from daemon.store.changes import ArtifactRecord, PutArtifacts
from tests.engine.asking import ask_over_wire
from tests.engine.workshop import Workshop

pytestmark = pytest.mark.anyio


class Shelf:
    """A workshop with two movies done, and a volume and a table beside their files."""

    def __init__(self, shop: Workshop) -> None:
        self.shop = shop
        self.answers = FileAnswers(shop.engine, shop.home, limit_s=60)

    async def ask(self, name: str, **arguments: Any) -> Any:
        return await ask_over_wire(self.answers.handlers(), name, arguments, "vera (viewer)")

    async def files(self, **more: Any) -> ArtifactFilesAnswer:
        return msgspec.convert(await self.ask("artifact.files", session="session1", **more), ArtifactFilesAnswer)

    async def put(self, path: str, kind: str) -> None:
        size_bytes = (self.shop.session_home / path).stat().st_size
        record = ArtifactRecord(self.shop.session_id, path, kind, size_bytes, "", "", "test")
        await self.shop.store.commit(PutArtifacts((record,)))


@pytest.fixture
async def shelf(build: Callable[..., Workshop]) -> Shelf:
    shop = build()
    await shop.open_session()
    await shop.prove(shop.write_movie("x"), shop.write_movie("y", seed=2))
    await shop.process()
    shelf = Shelf(shop)
    (shop.session_home / "extra").mkdir()
    volume_zyx = np.zeros((5, 40, 60), dtype=np.float32)
    volume_zyx[2, :20] = 1.0
    write_mrc(shop.session_home / "extra" / "volume.mrc", volume_zyx, pixel_size_ang=1.5)
    shifts: dict[str, Any] = {"shift": np.arange(1000.0), "name": ["x"] * 1000}
    write_star(shop.session_home / "extra" / "table.star", [StarBlock("main", shifts)])
    await shelf.put("extra/volume.mrc", "volume")
    await shelf.put("extra/table.star", "table")
    return shelf


async def test_files_are_counted_by_kind_the_largest_lot_first(shelf: Shelf) -> None:
    answer = msgspec.convert(await shelf.ask("artifacts", session="session1"), ArtifactsAnswer)
    sizes = [group.size_bytes for group in answer.groups]
    assert sizes == sorted(sizes, reverse=True)
    extra = {group.kind: group for group in answer.groups if group.category == "extra"}
    assert extra["volume"].files == 1
    assert all(group.session == "session1" for group in answer.groups)
    listed = await shelf.files()
    assert sum(group.files for group in answer.groups) == listed.total
    assert sum(group.size_bytes for group in answer.groups) == sum(file.size_bytes for file in listed.files)
    assert answer.raw_movies == 2
    assert answer.raw_bytes == sum(path.stat().st_size for path in shelf.shop.frames.iterdir())
    whole = msgspec.convert(await shelf.ask("artifacts"), ArtifactsAnswer)
    assert whole == answer


async def test_files_are_listed_by_kind_and_page(shelf: Shelf) -> None:
    (volume,) = (await shelf.files(kind="volume")).files
    assert volume.path == str(shelf.shop.session_home / "extra" / "volume.mrc")
    assert volume.trouble == ""
    whole = await shelf.files()
    second = await shelf.files(offset=1, limit=1)
    assert (second.total, [file.path for file in second.files]) == (whole.total, [whole.files[1].path])
    assert [file.kind for file in (await shelf.files(containing="TABLE")).files] == ["table"]
    assert any(file.image == "x" for file in whole.files)


async def test_what_is_gone_or_changed_is_told(shelf: Shelf) -> None:
    (shelf.shop.session_home / "extra" / "volume.mrc").unlink()
    (shelf.shop.session_home / "extra" / "table.star").write_text("x")
    troubles = {file.kind: file.trouble for file in (await shelf.files(containing="extra/")).files}
    assert troubles["volume"] == "is not there any more"
    assert "has 1 bytes" in troubles["table"]


async def test_a_slice_of_a_volume_is_a_small_picture(shelf: Shelf) -> None:
    path = str(shelf.shop.session_home / "extra" / "volume.mrc")
    answer = msgspec.convert(
        await shelf.ask("artifact.slice", session="session1", path=path, longest_px=30), SliceAnswer
    )
    assert (answer.section, answer.sections) == (2, 5)
    assert answer.said == "60 × 40 × 5 float32, 1.5 Å/px"
    picture = np.asarray(Image.open(BytesIO(b"".join(answer.pieces))))
    assert picture.shape == (20, 30) == (answer.height_px, answer.width_px)
    assert (picture[0, 0], picture[-1, 0]) == (255, 0)
    first = await shelf.ask("artifact.slice", session="session1", path=path, section=0)
    assert msgspec.convert(first, SliceAnswer).section == 0
    with pytest.raises(CommandRefused, match="none of number 5"):
        await shelf.ask("artifact.slice", session="session1", path=path, section=5)


async def test_columns_of_numbers_are_thinned(shelf: Shelf) -> None:
    path = str(shelf.shop.session_home / "extra" / "table.star")
    answer = msgspec.convert(
        await shelf.ask("artifact.columns", session="session1", path=path, points=100), ColumnsAnswer
    )
    (column,) = answer.columns
    assert (column.label, column.rows, column.least, column.largest) == ("shift", 1000, 0.0, 999.0)
    assert len(column.values) == 100
    assert answer.texts == ["main name"]


async def test_only_what_was_written_is_read(shelf: Shelf) -> None:
    secret = shelf.shop.folder / "secret.mrc"
    write_mrc(secret, np.ones((4, 4), dtype=np.float32), pixel_size_ang=1.0)
    for path in (str(secret), "../../secret.mrc", "extra/../../../secret.mrc"):
        with pytest.raises(CommandRefused, match="no file that was written"):
            await shelf.ask("artifact.slice", session="session1", path=path)
    (shelf.shop.session_home / "extra" / "volume.mrc").unlink()
    (shelf.shop.session_home / "extra" / "volume.mrc").symlink_to(secret)
    with pytest.raises(PathOutsideRoots):
        await shelf.ask("artifact.slice", session="session1", path="extra/volume.mrc")
    with pytest.raises(CommandRefused, match="no MRC file"):
        await shelf.ask("artifact.slice", session="session1", path="extra/table.star")
