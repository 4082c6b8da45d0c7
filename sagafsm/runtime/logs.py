"""What sagafsm logs: the logger ``sagafsm``, and no secrets.

What must stay true: a warning or an error, its traceback included, leaves the logger without passwords: an error of a
driver may repeat the URL that it was given.
"""

from __future__ import annotations

import logging

from ..core.secrets import redact

LOGGER = logging.getLogger("sagafsm")
_TRACEBACKS = logging.Formatter()


class _Redacting(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True  # of each event of each saga: nothing in them comes from a driver
        message = record.getMessage()
        shown = redact(message)
        if shown != message:
            record.msg, record.args = shown, ()
        if record.exc_info and not record.exc_text:
            record.exc_text = redact(_TRACEBACKS.formatException(record.exc_info))  # formatters show this one
        return True


_REDACTING = _Redacting()


class Redacted(logging.Formatter):
    """Shows records of any logger, drivers' own included, without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def log_to_stderr(level: int | str, form: str) -> None:
    """Show what is logged from a level on, whoever logs it; for programs, and only where nothing is set up yet."""
    handler = logging.StreamHandler()
    handler.setFormatter(Redacted(form))
    logging.basicConfig(level=level, handlers=[handler])


def hide_secrets() -> None:
    """Let nothing secret out of the logger from now on; once is enough."""
    LOGGER.addFilter(_REDACTING)
