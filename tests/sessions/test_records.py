"""Task records: what is written comes back, and anything else is no record."""

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.domain.movie import FileIdentity
from daemon.domain.states import TaskState
from daemon.errors import FileNotWritten, FileUnreadable
from daemon.pipeline.result import OutputFile, TaskCompleted, TaskFailed
from daemon.sessions.records import (
    TaskRecord,
    outputs_stand,
    read_record,
    record_path,
    remove_record,
    write_record,
)

texts = st.text(max_size=20)
numbers = st.integers(0, 2**62)
values = st.one_of(st.none(), st.booleans(), st.integers(-(2**62), 2**62), st.floats(allow_nan=False), texts).filter(
    lambda value: value not in {float("inf"), float("-inf")}
)
outputs = st.builds(OutputFile, texts, texts, numbers, texts)
completed = st.builds(
    TaskCompleted,
    st.lists(outputs, max_size=3).map(tuple),
    st.dictionaries(texts, values, max_size=4),
    st.lists(texts, max_size=2).map(tuple),
)
failed = st.builds(TaskFailed, texts, texts, st.booleans(), texts)
paths = st.binary(min_size=1, max_size=12).filter(lambda raw: b"\0" not in raw).map(lambda raw: Path(os.fsdecode(raw)))


def make_record(outcome: TaskCompleted | TaskFailed, path: Path = Path("/gpfs/s/x.tif")) -> TaskRecord:
    return TaskRecord(
        session_id="s",
        session_name="24dec03a",
        image_id="i",
        image_name="x",
        stage="ctf_estimation",
        stage_version=3,
        elcano_version="0.1",
        parameters={"a": 1.5, "b": None},
        parameters_hash="abc",
        movie=FileIdentity(path, 12, 34),
        outcome=outcome,
    )


@settings(deadline=None, max_examples=60)
@given(st.one_of(completed, failed), paths)
def test_what_is_written_comes_back(
    tmp_path_factory: pytest.TempPathFactory, outcome: TaskCompleted | TaskFailed, path: Path
) -> None:
    home = tmp_path_factory.mktemp("home")
    record = make_record(outcome, path)
    write_record(home, record)
    assert read_record(home, "ctf_estimation", "x") == record


def test_the_same_record_gives_the_same_bytes(tmp_path: Path) -> None:
    record = make_record(TaskCompleted((OutputFile("p", "ctf/x.star", 1, "0" * 64),), {"b": 1, "a": 2.5}))
    write_record(tmp_path, record, mode=0o640)
    path = record_path(tmp_path, "ctf_estimation", "x")
    assert path == tmp_path / ".elcano" / "tasks" / "ctf_estimation" / "x.json"
    first = path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o640
    write_record(tmp_path, record)
    assert path.read_bytes() == first
    assert make_record(TaskFailed("a", "b")).state is TaskState.FAILED
    assert record.state is TaskState.COMPLETED


def test_every_cut_of_a_record_is_no_record(tmp_path: Path) -> None:
    write_record(tmp_path, make_record(TaskCompleted((), {"a": 1})))
    path = record_path(tmp_path, "ctf_estimation", "x")
    whole = path.read_bytes()
    for cut in range(len(whole) - 2):
        path.write_bytes(whole[:cut])
        assert read_record(tmp_path, "ctf_estimation", "x") is None
    for other in (b"[]", b"null", b'{"schema": 2}', whole.replace(b'"schema":1', b'"schema":9'), b"\xff", b"[" * 10**5):
        path.write_bytes(other)
        assert read_record(tmp_path, "ctf_estimation", "x") is None
    assert read_record(tmp_path, "ctf_estimation", "another") is None


def test_what_the_system_refuses_is_told(tmp_path: Path) -> None:
    path = record_path(tmp_path, "ctf_estimation", "x")
    path.mkdir(parents=True)
    with pytest.raises(FileUnreadable):
        read_record(tmp_path, "ctf_estimation", "x")
    with pytest.raises(FileNotWritten):
        write_record(tmp_path, make_record(TaskFailed("a", "b")))
    with pytest.raises(FileNotWritten):
        remove_record(tmp_path, "ctf_estimation", "x")
    remove_record(tmp_path, "ctf_estimation", "never")


def test_outputs_stand_by_their_size(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert outputs_stand(tmp_path, ())
    digest = hashlib.sha256((tmp_path / "a").read_bytes()).hexdigest()
    whole = OutputFile("p", "a", 5, digest)
    assert outputs_stand(tmp_path, (whole,))
    assert not outputs_stand(tmp_path, (OutputFile("p", "a", 4, digest),))
    assert not outputs_stand(tmp_path, (OutputFile("p", "a", 5, "0" * 64),))
    assert not outputs_stand(tmp_path, (whole, OutputFile("p", "b", 1, digest)))
