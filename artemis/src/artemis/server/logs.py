"""Logging of a node: structured lines on standard error, an action name first and fields behind it."""

from __future__ import annotations

import logging
import sys
from typing import Literal

import structlog


def configure_logging(level: str, style: Literal["console", "json"]) -> None:
    """Send structlog and the standard library's loggers to standard error as `style`, from `level` up."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if style == "json"
        # Plain traces: the rich ones show local variables, and those hold what peers have sent.
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), sort_keys=False, exception_formatter=structlog.dev.plain_traceback
        )
    )
    last: list[structlog.typing.Processor] = [structlog.processors.format_exc_info] if style == "json" else []
    structlog.configure(
        processors=[*shared, *last, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        # One write for each line, its end included: several processes may share the stream.
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last, renderer],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # What becomes of a certificate the node tells itself, once for TCP and QUIC together.
    logging.getLogger("msgtrans.tls").setLevel(max(root.level, logging.WARNING))


def get_logger() -> structlog.typing.FilteringBoundLogger:
    """The logger; call it with an action name and fields: `log.info("node up", region="r1")`."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return logger
