"""Log lines: JSON for machines, readable on a terminal, secrets cut out of both."""

import logging
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog

from knowledge.redaction import redact_value

# Chatty at INFO, and of no use to an operator there.
QUIET = (
    "httpx", "httpcore", "apscheduler", "procrastinate", "slack_bolt", "slack_sdk", "aiohttp.access", "alembic",
    "knowledge.store.database.BurstPool",  # SQLAlchemy names a pool's log by its class
)  # fmt: skip


def _redacted(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The last processor before rendering: whatever a library put into a message, no secret leaves in it."""
    for key, value in event.items():
        if key in {"level", "timestamp"} or value is None or isinstance(value, bool | int | float):
            continue
        # Anything else, such as an exception, would be rendered as its repr.
        plain = value if isinstance(value, str | Mapping | list | tuple) else repr(value)
        event[key] = redact_value({key: plain})[key]
    return event


def set_up_logs(level: str, how: str) -> None:
    """Send structlog's and the standard library's lines to standard error."""
    console = how == "console" or (how == "auto" and sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    renderer = structlog.dev.ConsoleRenderer(colors=console) if console else structlog.processors.JSONRenderer()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _redacted, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
