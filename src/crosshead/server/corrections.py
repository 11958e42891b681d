"""Corrections: labels that readers of the page give, appended to a file of annotations before they are acknowledged."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from crosshead.corpora.annotations import CORRECTION, Annotation
from crosshead.errors import DataError
from crosshead.server.errors import RefusedError
from crosshead.server.logs import FIELDS, NAME
from crosshead.text import text_digest

if TYPE_CHECKING:
    from crosshead.labelling.store import AnnotationFile
    from crosshead.server.schemas import CorrectionRequest

log = logging.getLogger(NAME)


class Corrections:
    """The file of corrections, for any number of processes; without one they are refused."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: AnnotationFile | None = None
        self._one_at_a_time = threading.Lock()

    @property
    def are_taken(self) -> bool:
        """Whether there is a file for them."""
        return self._path is not None

    def add(self, correction: CorrectionRequest, key: str, annotator: str) -> str:
        """Append a correction; when this returns its id, the disk has it. The same key appends once.

        Raises
        ------
        RefusedError
            If there is no file for corrections or it cannot be written, or the key was used for another correction.
        """
        annotation = Annotation(
            correction.article_id,
            correction.paragraph,
            text_digest(correction.text),
            correction.section_type,
            correction.annotator or annotator,
            extra={"source": CORRECTION, "note": correction.note},
        )
        with self._one_at_a_time:
            file = self._opened()
            from crosshead.labelling.store import KeyUsedError

            try:
                file.append(annotation, key)
            except KeyUsedError as error:
                message = "this Idempotency-Key was used for another correction; give every correction one of its own"
                raise RefusedError(409, "conflict", message) from error
            except DataError as error:  # not the client's fault, and the message names a path of ours
                log.error("a correction cannot be written", extra={FIELDS: {"reason": str(error)}})
                message = "the correction cannot be written now and is not saved; send it again later"
                raise RefusedError(503, "disk", message, retry_after=10) from error
        return text_digest(key)

    def _opened(self) -> AnnotationFile:
        if self._path is None:
            message = "this server has no file for corrections; it is named with --corrections FILE"
            raise RefusedError(503, "no_corrections", message)
        if self._file is None:
            from crosshead.labelling.store import AnnotationFile

            self._file = AnnotationFile(self._path)
        return self._file
