"""One annotator's sitting: which paragraphs are asked, what was said of them, and what the page may know."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from crosshead.corpora.annotations import ADJUDICATION
from crosshead.errors import DataError
from crosshead.labelling.log import SOURCE, SOURCE_SUGGESTED, Event, Kind, LabelLog
from crosshead.labelling.queue import QueueItem
from crosshead.labelling.store import now
from crosshead.taxonomy import SectionType
from crosshead.text import text_digest

Mode = Literal["label", "second", "adjudicate"]

OPEN, SKIPPED = -1, -2
"""What stands in the list of marks for a paragraph without a section type."""
LONGEST_PAUSE_S = 120.0
N_RECENT = 50
N_GAPS_FOR_PACE = 3


@dataclass(frozen=True, slots=True)
class Action:
    """What the page asks to be written."""

    key: str
    kind: Kind
    article_id: str
    paragraph: int
    text_sha256: str
    section_type: str = ""
    note: str = ""
    suggestion_shown: bool = False


class Session:
    """The paragraphs of a queue and one annotator's log.

    Other annotators' labels are not in here, so no page can show them; ``votes`` of the items are given out for
    adjudication alone.
    """

    def __init__(
        self,
        items: Sequence[QueueItem],
        log: LabelLog,
        section_types: Sequence[SectionType],
        *,
        mode: Mode = "label",
        name: str = "",
        codebook: str = "",
        next_command: str = "",
    ) -> None:
        if not items:
            raise DataError("there is no paragraph to read; name a queue or articles that hold some")
        self.items = tuple(items)
        self.mode = mode
        self.codebook = codebook
        self.next_command = next_command or f"crosshead data import {log.path}"
        """What to type when all is read."""
        self._name = name
        self._log = log
        self._types = tuple(section_types)
        self._number = {definition.name: i for i, definition in enumerate(self._types)}
        self._index = {item.place: i for i, item in enumerate(self.items)}
        self._lock = threading.Lock()

    @property
    def log_path(self) -> Path:
        """Where the annotator's labels are."""
        return self._log.path

    def overview(self) -> dict[str, Any]:
        """Return what the page needs to begin, or to go on after it was loaded again."""
        with self._lock:
            self._log.refresh()
            held = [event for item in self.items if (event := self._log.marks.of(item.place))]
            return {
                "annotator": self._log.annotator,
                "mode": self.mode,
                "queue": self._name,
                "queue_id": text_digest("\n".join("#".join(map(str, item.place)) for item in self.items)),
                "section_types": [{"name": d.name, "description": d.description} for d in self._types],
                "marks": [self._mark(item) for item in self.items],
                "history": [self._index[event.place] for event in sorted(held, key=lambda event: event.line)],
                "suggestions": self.mode == "label" and any(item.suggestion for item in self.items),
                "pace": pace(self._log.marks.label_times),
                "log": str(self._log.path),
                "next": self.next_command,
            }

    def page(self, start: int, n: int) -> list[dict[str, Any]]:
        """Return some paragraphs with what stands around them."""
        with self._lock:
            return [self._item(i) for i in range(max(0, start), min(len(self.items), start + n))]

    def suggestion(self, index: int) -> dict[str, Any] | None:
        """Return what the tagger says of a paragraph; None where it says nothing or must not be heard."""
        if self.mode != "label" or not 0 <= index < len(self.items):
            return None
        suggestion = self.items[index].suggestion
        return suggestion.as_dict() if suggestion else None

    def record(self, action: Action) -> dict[str, Any]:
        """Write what the annotator did; when this returns, it is on the disk.

        Raises
        ------
        DataError
            If the paragraph or the section type is not asked here, or the log cannot be written.
        """
        place = (action.article_id, action.paragraph, action.text_sha256)
        index = self._index.get(place)
        if index is None:
            raise DataError("this paragraph is not in the queue that is open here; load the page again")
        if action.kind == "label" and action.section_type not in self._number:
            raise DataError(
                f"the section type is {action.section_type!r:.80}; allowed are {', '.join(self._number)}; "
                "load the page again"
            )
        with self._lock:
            event = self._event(action)
            if event is not None:
                self._log.append(event)
            return {
                "index": index,
                "mark": self._mark(self.items[index]),
                "note": self._log.marks.note(place),
                "pace": pace(self._log.marks.label_times),
            }

    def counts(self) -> Mapping[str, int]:
        """Count the paragraphs by what was said of them: section types, ``skipped`` and ``open``."""
        with self._lock:
            marks = [self._mark(item) for item in self.items]
        names = {OPEN: "open", SKIPPED: "skipped"} | {i: d.name for i, d in enumerate(self._types)}
        return {name: marks.count(mark) for mark, name in names.items()}

    def _event(self, action: Action) -> Event | None:
        of = ""
        if action.kind == "undo":
            held = self._log.marks.of((action.article_id, action.paragraph, action.text_sha256))
            if held is None or action.key in self._log.marks:
                return None  # it is taken back already
            of = held.key
        source = SOURCE_SUGGESTED if action.suggestion_shown and self.mode == "label" else SOURCE
        return Event(
            key=action.key,
            kind=action.kind,
            article_id=action.article_id,
            paragraph=action.paragraph,
            text_sha256=action.text_sha256,
            annotator=self._log.annotator,
            time=now(),
            section_type=action.section_type if action.kind == "label" else "",
            note=" ".join(action.note.split()) if action.kind == "note" else "",
            of=of,
            source=ADJUDICATION if self.mode == "adjudicate" else source,
        )

    def _mark(self, item: QueueItem) -> int:
        event = self._log.marks.of(item.place)
        if event is None:
            return OPEN
        # A label may be of a section type that the taxonomy has lost: it is asked again.
        return SKIPPED if event.kind == "skip" else self._number.get(event.section_type, OPEN)

    def _item(self, index: int) -> dict[str, Any]:
        item = self.items[index]
        told: dict[str, Any] = {
            "index": index,
            "article_id": item.article_id,
            "paragraph": item.paragraph,
            "text_sha256": item.text_sha256,
            "title": item.title,
            "headings": list(item.headings),
            "begins_section": item.begins_section,
            "before": list(item.before),
            "text": item.text,
            "after": list(item.after),
            "note": self._log.marks.note(item.place),
        }
        if self.mode == "adjudicate":
            told["votes"] = [
                {"annotator": who, "section_type": section_type, "note": item.notes.get(who, "")}
                for who, section_type in item.votes.items()
            ]
        return told


def pace(times: Sequence[str]) -> float | None:
    """Say how many labels an hour were given lately; pauses are left out, None where too little is known."""
    moments = [datetime.fromisoformat(time) for time in times[-N_RECENT - 1 :]]
    gaps = [(after - before).total_seconds() for before, after in pairwise(moments)]
    worked = [gap for gap in gaps if 0 < gap <= LONGEST_PAUSE_S]
    return 3600 * len(worked) / sum(worked) if len(worked) >= N_GAPS_FOR_PACE else None
