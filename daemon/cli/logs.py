"""Logs on standard error: one format for our own lines and those of the libraries.

Colours, and nothing else that steers a terminal, go to a terminal only; whatever a file is called and whatever a
program prints, a line stays one line. Who works on a movie binds its session and path, the step and the task
(`structlog.contextvars`): every line written meanwhile carries them.
"""

import json
import logging
import os
import sys
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import structlog

from daemon.domain.names import spell_all, spell_controls

_FIRST = ("timestamp", "level", "event", "session", "path", "image", "stage", "task")
_TRACEBACKS = ("exception", "stack")
"""Of several lines each."""


def set_up_logs(level: str, style: str) -> None:
    """Send every log line of `level` and above to stderr; `style` is auto, json or console."""
    is_terminal = sys.stderr.isatty()
    is_console = style == "console" or (style == "auto" and is_terminal)
    has_colours = is_terminal and not os.environ.get("NO_COLOR")
    _set_up(logging.StreamHandler(sys.stderr), level, is_console=is_console, has_colours=has_colours)


def set_up_logs_in(path: Path, level: str) -> None:
    """Send every log line of `level` and above to a file, as JSON."""
    _set_up(logging.FileHandler(path, encoding="utf-8"), level, is_console=False, has_colours=False)


def _set_up(handler: logging.Handler, level: str, *, is_console: bool, has_colours: bool) -> None:
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    renderer: Any = structlog.processors.JSONRenderer(serializer=json.dumps, ensure_ascii=False)
    if is_console:
        renderer = structlog.dev.ConsoleRenderer(colors=has_colours, exception_formatter=structlog.dev.plain_traceback)
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            _make_readable,
            renderer,
        ],
    )
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _make_readable(_: Any, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Spell out what would steer a terminal, and put first what everybody looks for."""
    if "traceback" in line:
        line["exception"] = line.pop("traceback")
    ordered = {key: line[key] for key in _FIRST if key in line}
    ordered |= {key: value for key, value in line.items() if key not in ordered}
    return {
        spell_controls(key): spell_controls(str(value), keep="\n") if key in _TRACEBACKS else spell_all(value)
        for key, value in ordered.items()
    }
