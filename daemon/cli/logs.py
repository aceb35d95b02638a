"""Logs on standard error: one format for our own lines and those of the libraries."""

import logging
import sys
from pathlib import Path
from typing import Any

import structlog


def set_up_logs(level: str, style: str) -> None:
    """Send every log line of `level` and above to stderr; `style` is auto, json or console."""
    is_console = style == "console" or (style == "auto" and sys.stderr.isatty())
    _set_up(logging.StreamHandler(sys.stderr), level, is_console=is_console)


def set_up_logs_in(path: Path, level: str) -> None:
    """Send every log line of `level` and above to a file, as JSON."""
    _set_up(logging.FileHandler(path, encoding="utf-8"), level, is_console=False)


def _set_up(handler: logging.Handler, level: str, *, is_console: bool) -> None:
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    renderer: Any = structlog.dev.ConsoleRenderer() if is_console else structlog.processors.JSONRenderer()
    tail = [] if is_console else [structlog.processors.format_exc_info]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *tail, renderer],
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
