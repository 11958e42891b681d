"""What one annotator did, key press by key press: labels, skips, notes, and what was taken back.

A log is never rewritten. What holds now follows from its events in order: the last label or skip of a paragraph that
was not taken back, and its last note.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from crosshead.corpora.annotations import Annotation
from crosshead.errors import ConfigError, DataError
from crosshead.labelling.durable import LineFile

Kind = Literal["label", "skip", "note", "undo"]
KINDS: tuple[str, ...] = get_args(Kind)
PlaceAndText = tuple[str, int, str]
"""An article_id, the number of a paragraph in it, and the digest of the text that was read."""

SOURCE = "label_page"
SOURCE_SUGGESTED = "label_page_suggestion"
"""The source of a label that was given after the tagger's suggestion was shown."""

MAX_NOTE = 2000
MAX_ANNOTATOR = 80
_FIELDS: dict[str, type] = {
    "key": str,
    "event": str,
    "article_id": str,
    "paragraph": int,
    "text_sha256": str,
    "annotator": str,
    "time": str,
}
_FURTHER = {"section_type": str, "note": str, "of": str, "source": str}


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that an annotator did with one paragraph.

    ``section_type`` belongs to a label, ``note`` to a note; ``of`` is the key of the label or skip that an undo takes
    back. ``key`` names the request that brought the event.
    """

    key: str
    kind: Kind
    article_id: str
    paragraph: int
    text_sha256: str
    annotator: str
    time: str
    section_type: str = ""
    note: str = ""
    of: str = ""
    source: str = SOURCE
    line: int = 0

    @property
    def place(self) -> PlaceAndText:
        """What the event is about."""
        return self.article_id, self.paragraph, self.text_sha256

    def as_line(self) -> bytes:
        """Write the event as one line of JSON, without a line end."""
        cells: dict[str, Any] = {
            "key": self.key,
            "event": self.kind,
            "article_id": self.article_id,
            "paragraph": self.paragraph,
            "text_sha256": self.text_sha256,
            "annotator": self.annotator,
            "time": self.time,
        }
        cells |= {name: getattr(self, name) for name in _FURTHER if getattr(self, name)}
        return json.dumps(cells, ensure_ascii=False).encode("utf-8", "replace")


class Marks:
    """What holds after some events."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self._keys: set[str] = set()
        self._stacks: dict[PlaceAndText, list[Event]] = defaultdict(list)
        self._notes: dict[PlaceAndText, str] = {}
        self._times: list[str] = []
        for event in events:
            self.add(event)

    def __contains__(self, key: str) -> bool:
        return key in self._keys

    def add(self, event: Event) -> None:
        """Take in the next event; one whose key was there before changes nothing."""
        if event.key in self._keys:
            return
        self._keys.add(event.key)
        stack = self._stacks[event.place]
        if event.kind == "note":
            self._notes[event.place] = event.note
        elif event.kind == "undo":
            stack[:] = [given for given in stack if given.key != event.of]
        else:
            stack.append(event)
            if event.kind == "label":
                self._times.append(event.time)

    def of(self, place: PlaceAndText) -> Event | None:
        """Return the label or skip that holds for a paragraph."""
        stack = self._stacks.get(place)
        return stack[-1] if stack else None

    def note(self, place: PlaceAndText) -> str:
        """Return the paragraph's note; empty if there is none."""
        return self._notes.get(place, "")

    @property
    def label_times(self) -> list[str]:
        """When labels were given, those taken back among them."""
        return self._times

    def labels(self) -> list[Event]:
        """Return the labels that hold, in the order in which they were given, each with its paragraph's note."""
        held = [stack[-1] for stack in self._stacks.values() if stack and stack[-1].kind == "label"]
        return [replace(event, note=self.note(event.place)) for event in sorted(held, key=lambda event: event.line)]

    def annotations(self) -> list[Annotation]:
        """Return the labels that hold as annotations."""
        return [
            Annotation(
                article_id=event.article_id,
                paragraph=event.paragraph,
                text_sha256=event.text_sha256,
                section_type=event.section_type,
                annotator=event.annotator,
                line=event.line,
                extra={"time": event.time, "source": event.source, "note": event.note},
            )
            for event in self.labels()
        ]


class LabelLog:
    """One annotator's log, on the disk after every event.

    Several processes may write to it; each sees what the others added.
    """

    def __init__(self, path: Path, annotator: str) -> None:
        check_annotator(annotator)
        self.path = path
        self.annotator = annotator
        self.marks = Marks()
        self._lines = LineFile(path, is_whole=_is_object)
        self._n_lines = 0
        self.refresh()

    def refresh(self) -> None:
        """Take in what was added to the file."""
        if self._lines.was_replaced():
            self.marks, self._n_lines = Marks(), 0
        for line in self._lines.read_new():
            self._n_lines += 1
            self._take(parse_event(line, self.path, self._n_lines))

    def append(self, event: Event) -> bool:
        """Write an event; when this returns, it is on the disk.

        Returns
        -------
        bool
            False if an event with this key is there already; nothing is written then.

        Raises
        ------
        DataError
            If it takes back what is not there, or the file cannot be written.
        """
        with self._lines.locked():
            self._lines.mend()
            self.refresh()
            if event.key in self.marks:
                return False
            if event.kind == "undo" and event.of not in self.marks:
                raise DataError(f"there is no label with the key {event.of!r} to take back; load the page again")
            self._lines.append(event.as_line())
            self.refresh()
            return True

    def _take(self, event: Event) -> None:
        if event.annotator != self.annotator:
            raise DataError(
                f"line {event.line} of {self.path} is by {event.annotator!r}, but the log is opened for "
                f"{self.annotator!r}; every annotator has a log of their own: name another file with --log"
            )
        self.marks.add(event)


def read_events(path: Path) -> Iterator[Event]:
    """Read a log; a last line that is cut off was never acknowledged and is left out.

    Raises
    ------
    DataError
        If the file cannot be read or a line is no event; names the line.
    """
    lines = LineFile(path, is_whole=_is_object)
    if not path.exists():
        raise DataError(f"label log {path} is not there; check the path")
    for number, line in enumerate(lines.read_new(), 1):
        yield parse_event(line, path, number)


def parse_event(line: bytes, path: Path, number: int) -> Event:
    """Read one line of a log."""
    where = f"line {number} of label log {path}"
    try:
        cells = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is no JSON ({error}); restore the file from a copy, or remove the line") from error
    if not isinstance(cells, dict):
        raise DataError(f"{where} is {type(cells).__name__}; it must be an object with {', '.join(_FIELDS)}")
    for name, kind in _FIELDS.items():
        if not isinstance(cells.get(name), kind) or isinstance(cells[name], bool):
            raise DataError(f"{where} has {cells.get(name)!r:.80} for {name!r}; it must be {kind.__name__}")
    for name in _FURTHER:
        if not isinstance(cells.get(name, ""), str):
            raise DataError(f"{where} has {cells[name]!r:.80} for {name!r}; it must be str")
    kind = cells.pop("event")
    if kind not in KINDS:
        raise DataError(f"{where} has the event {kind!r}; allowed are {', '.join(KINDS)}")
    known = {name: cells[name] for name in (*_FIELDS, *_FURTHER) if name in cells}
    return Event(kind=kind, line=number, **known)


def check_annotator(name: str) -> None:
    """Refuse a name that could not stand in a file.

    Raises
    ------
    ConfigError
        If it is empty, too long, or holds characters that cannot be seen.
    """
    if not name.strip() or name != name.strip() or len(name) > MAX_ANNOTATOR or not name.isprintable():
        raise ConfigError(
            f"the annotator is {name!r}; give a name or initials of at most {MAX_ANNOTATOR} visible characters, "
            "without space at its ends, such as --annotator anna"
        )


def file_name(annotator: str) -> str:
    """Make a name for an annotator's file."""
    return re.sub(r"[^\w.@+-]+", "_", annotator).lstrip(".") or "_"


def _is_object(tail: bytes) -> bool:
    try:
        return isinstance(json.loads(tail), dict)
    except (ValueError, RecursionError):
        return False
