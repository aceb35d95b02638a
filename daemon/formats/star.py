"""STAR files as RELION 3.1 and later write them: loops and key-value blocks, order kept.

Numbers: float64 with 12 significant digits, float32 with as many as it takes to read the same float32
back (at most 9), integers exactly, booleans as 1 and 0. Labels are kept without their leading underscore.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from daemon.errors import FileUnreadable, FormatError, FormatUnsupported

StarValue = str | int | float | np.generic
StarColumn = Sequence[StarValue] | npt.NDArray[Any]

_TOKEN = re.compile(r"""\s*(?:(\#.*)|"(.*?)"(?=\s|$)|'(.*?)'(?=\s|$)|(\S+))""")
_BARE = re.compile(r"""[^\s"'#_;$\[\]][^\s]*""")
_RESERVED = re.compile(r"(data_|save_|loop_|stop_|global_)", re.IGNORECASE)


@dataclass(frozen=True)
class StarBlock:
    """One `data_<name>` block: a loop of equally long columns, or key-value pairs (columns of one value).

    `columns` maps labels without underscore, such as rlnMicrographName, to values. A block that was
    read holds strings; `floats`, `integers` and `strings` convert.
    """

    name: str
    columns: Mapping[str, StarColumn]
    is_loop: bool = True

    @classmethod
    def pairs(cls, name: str, values: Mapping[str, StarValue]) -> "StarBlock":
        """Make a key-value block."""
        return cls(name, {label: [value] for label, value in values.items()}, is_loop=False)

    def strings(self, label: str) -> list[str]:
        """Return a column as text. Raises KeyError for an unknown label."""
        return [str(value) for value in self.columns[label]]

    def floats(self, label: str) -> npt.NDArray[np.float64]:
        """Return a column as float64. Raises KeyError for an unknown label, ValueError for text."""
        return np.array([float(value) for value in self.columns[label]], dtype=np.float64)

    def integers(self, label: str) -> npt.NDArray[np.int64]:
        """Return a column as int64. Raises KeyError for an unknown label, ValueError for anything else."""
        return np.array([int(value) for value in self.columns[label]], dtype=np.int64)

    def value(self, label: str) -> StarValue:
        """Return the one value of a key-value block. Raises KeyError for an unknown label."""
        (value,) = self.columns[label]
        return value


def find_block(blocks: Iterable[StarBlock], name: str) -> StarBlock | None:
    """Return the first block of that name, or None."""
    return next((block for block in blocks if block.name == name), None)


def write_star(path: Path, blocks: Iterable[StarBlock]) -> None:
    """Write blocks to a file. Raises OSError, and ValueError as `format_star` does."""
    path.write_text(format_star(blocks), encoding="utf-8", newline="\n")


def format_star(blocks: Iterable[StarBlock]) -> str:
    """Return the text of a STAR file; the same blocks give the same bytes.

    Raises ValueError for columns of unequal length, labels with spaces and text that STAR cannot
    hold on one line.
    """
    return "".join(_format_block(block) for block in blocks)


def _format_block(block: StarBlock) -> str:
    for label in (block.name, *block.columns):
        if re.search(r"\s", label) or label.startswith("_"):
            raise ValueError(f"STAR label {label!r} holds white space or begins with an underscore")
    columns = [_format_column(column) for column in block.columns.values()]
    if len({len(column) for column in columns}) > 1:
        raise ValueError(f"STAR block {block.name!r}: its columns differ in length")
    lines = ["", f"data_{block.name}", ""]
    if block.is_loop:
        lines.append("loop_")
        lines.extend(f"_{label} #{number}" for number, label in enumerate(block.columns, start=1))
        lines.extend(" ".join(row) for row in zip(*_align(columns), strict=True))
    else:
        width = max((len(label) for label in block.columns), default=0) + 1
        for label, column in zip(block.columns, columns, strict=True):
            (text,) = column
            lines.append(f"{'_' + label:<{width}} {text}")
    return "\n".join([*lines, "", ""])


def _format_column(column: StarColumn) -> list[str]:
    if isinstance(column, np.ndarray):
        if column.dtype == np.float32:
            return [str(value) for value in column]
        column = column.tolist()
    return [_format_value(value) for value in column]


def _format_value(value: object) -> str:
    if isinstance(value, bool | np.bool_):
        return str(int(value))
    if isinstance(value, int | np.integer):
        return str(int(value))
    if isinstance(value, np.float32 | np.float16):
        return str(value)
    if isinstance(value, float | np.floating):
        return f"{float(value):.12g}"
    if isinstance(value, str):
        return _quote(value)
    raise ValueError(f"a STAR file cannot hold a value of type {type(value).__name__}")


def _quote(text: str) -> str:
    if _BARE.fullmatch(text) and not _RESERVED.match(text):
        return text
    if "\n" in text or "\r" in text:
        raise ValueError(f"STAR text must be one line, got {text!r}")
    # A quotation mark inside ends the text only where white space follows it.
    for mark in ('"', "'"):
        if not re.search(rf"{mark}\s", text) and not text.endswith(mark):
            return f"{mark}{text}{mark}"
    raise ValueError(f"STAR text cannot be quoted: {text!r}")


def _align(columns: list[list[str]]) -> list[list[str]]:
    aligned = []
    for column in columns:
        width = max((len(text) for text in column), default=0)
        aligned.append([text.rjust(width) for text in column])
    return aligned


def read_star(path: Path) -> list[StarBlock]:
    """Read every block in file order, values as text; CRLF, blank lines and comments are fine.

    A block that holds several loops, or pairs beside a loop, comes back as several blocks of one
    name. Raises FileUnreadable, FormatError, FormatUnsupported (text over several lines).
    """
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise FileUnreadable(path, error) from error
    except UnicodeDecodeError as error:
        raise FormatError(path, f"not a STAR file: byte {error.start} is not UTF-8 text") from error
    return parse_star(text, path)


def parse_star(text: str, path: Path) -> list[StarBlock]:
    """Read blocks from text; `path` only names it in errors. Raises FormatError, FormatUnsupported."""
    parser = _Parser(path)
    for number, line in enumerate(text.split("\n"), start=1):
        parser.take_line(number, line.rstrip("\r"))
    return parser.finish()


class _Parser:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._blocks: list[StarBlock] = []
        self._name: str | None = None
        self._labels: list[str] = []
        self._rows: list[list[str]] = []
        self._in_loop = False
        self._is_named_block_kept = False

    def take_line(self, number: int, line: str) -> None:
        if line.startswith(";"):
            raise FormatUnsupported(self._path, f"line {number} begins a text over several lines")
        if self._in_loop and self._rows and not line.startswith(("_", "loop_", "data_")):
            self._take_values(number, list(self._tokens(line)))
            return
        tokens = list(self._tokens(line))
        if not tokens:
            return
        word = tokens[0]
        if line.startswith("data_"):
            self._close_block()
            self._name = word[len("data_") :]
        elif self._name is None:
            raise FormatError(self._path, f"line {number}: {word[:40]!r} stands before any data_ block")
        elif re.match(r"\s*loop_(\s|$)", line):
            self._close()
            self._in_loop = True
        elif line.lstrip().startswith("_"):
            self._take_label(number, tokens)
        else:
            self._take_values(number, tokens)

    def finish(self) -> list[StarBlock]:
        self._close_block()
        if self._name is None:
            raise FormatError(self._path, "not a STAR file: it holds no data_ block")
        return self._blocks

    def _tokens(self, line: str) -> Iterator[str]:
        for comment, double, single, bare in _TOKEN.findall(line):
            if comment:
                return
            yield double or single or bare

    def _take_label(self, number: int, tokens: list[str]) -> None:
        if self._in_loop and self._rows:
            self._close()
        label = tokens[0][1:]
        if label in self._labels:
            raise FormatError(self._path, f"line {number}: label _{label} stands twice in one block")
        self._labels.append(label)
        if self._in_loop:
            if len(tokens) > 1:
                raise FormatError(self._path, f"line {number}: a value follows the loop label _{label}")
        elif len(tokens) != 2:
            raise FormatError(self._path, f"line {number}: label _{label} needs one value, has {len(tokens) - 1}")
        else:
            self._rows.append([tokens[1]])

    def _take_values(self, number: int, tokens: list[str]) -> None:
        if not tokens:
            return
        if not self._in_loop or len(tokens) != len(self._labels):
            raise FormatError(
                self._path, f"line {number}: {len(tokens)} value(s) where {len(self._labels)} column(s) are declared"
            )
        self._rows.append(tokens)

    def _close_block(self) -> None:
        self._close()
        if self._name is not None and not self._is_named_block_kept:
            self._blocks.append(StarBlock(self._name, {}, is_loop=False))
        self._is_named_block_kept = False

    def _close(self) -> None:
        if self._name is not None and (self._labels or self._in_loop):
            self._is_named_block_kept = True
            rows = self._rows if self._in_loop else [[row[0] for row in self._rows]]
            columns = list(zip(*rows, strict=True)) if rows else [()] * len(self._labels)
            named = {label: list(column) for label, column in zip(self._labels, columns, strict=True)}
            self._blocks.append(StarBlock(self._name, named, is_loop=self._in_loop))
        self._labels, self._rows, self._in_loop = [], [], False
