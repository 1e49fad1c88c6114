"""Foreign messages: what lies in a stream and is not Trimtab's is counted, logged and left out."""

import logging

from trimtab.runtime import metrics

log = logging.getLogger(__name__)

_REMEMBERED = 1000
"""Subjects that are logged once each. The foreign messages of further subjects are only counted."""

_foreign = metrics.meter.create_counter(
    "trimtab.foreign_messages", "{message}", "Messages that are not Trimtab's, by stream"
)


class ForeignMessages:
    """Reports the foreign messages of one reader of one stream."""

    def __init__(self, stream: str) -> None:
        self._stream = stream
        self._subjects: set[str] = set()

    def report(self, subject: str, reason: str) -> None:
        """Count a foreign message, and log the first one of its subject."""
        _foreign.add(1, {"trimtab.stream": self._stream})
        if subject in self._subjects or len(self._subjects) >= _REMEMBERED:
            return
        self._subjects.add(subject)
        fields = {"stream": self._stream, "subject": subject, "reason": reason}
        log.warning("message.foreign", extra=fields)
        if len(self._subjects) == _REMEMBERED:
            log.warning("message.foreign_not_logged", extra={"stream": self._stream})
