"""Annotations from every kind of file, each with the place where it stands: what agrees, what contradicts, what is new.

Read are label logs (``.jsonl``), Label Studio's exports (``.json``) and annotation files (``.csv``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from crosshead.corpora.annotations import Annotation, is_correction, is_settlement, read_annotations
from crosshead.errors import DataError
from crosshead.labelling.durable import LineFile, write_durably
from crosshead.labelling.label_studio import read_label_studio
from crosshead.labelling.log import Marks, read_events
from crosshead.labelling.store import columns_for, read_header, to_csv, to_row
from crosshead.whole import remove_leftovers

TABLE = "table"
"""The source of a label that was filled in with a spreadsheet."""

_SHORTEST_DIGEST = 16
Identity = tuple[str, int, str]
"""An article_id, a paragraph, and who may say only one thing about it: an annotator, or the adjudication."""


@dataclass(frozen=True, slots=True)
class Vote:
    """An annotation and where it stands, such as ``line 7 of data/annotations.csv``."""

    annotation: Annotation
    where: str
    overruled: str = ""
    """The latest time of the corrections that stand above this one in its file and that it takes the place of."""

    @property
    def moment(self) -> str:
        """When it was given: not before what it overrules, also where a clock was set back between the two."""
        return max(self.annotation.extra.get("time", ""), self.overruled)

    @property
    def identity(self) -> Identity:
        """What no other vote may contradict."""
        who = "\0adjudication" if is_settlement(self.annotation) else self.annotation.annotator
        return self.annotation.article_id, self.annotation.paragraph, who


@dataclass(frozen=True)
class Merged:
    """What came of taking votes into an annotation file."""

    annotations: Sequence[Annotation]
    n_added: int
    n_replaced: int
    n_known: int
    n_overruled: int = 0
    """New corrections that a later one of the same reader overrules."""


def read_votes(path: Path, names: Mapping[str, str] | None = None) -> list[Vote]:
    """Read one file; its suffix says which kind it is.

    Parameters
    ----------
    path : Path
    names : mapping of str to str, optional
        Names of Label Studio's annotators.

    Raises
    ------
    DataError
        If it cannot be read.
    """
    if path.suffix == ".csv":
        # A queue that somebody filled in with a spreadsheet has rows that nobody got to.
        return [vote for vote in _read_csv(path) if vote.annotation.section_type]
    if path.suffix == ".jsonl":
        return [Vote(found, f"line {found.line} of {path}") for found in Marks(read_events(path)).annotations()]
    if path.suffix == ".json":
        return [Vote(found, f"task {found.line} of {path}") for found in read_label_studio(path, names)]
    raise DataError(
        f"{path} ends in {path.suffix!r}; read are .jsonl (label logs), .json (Label Studio's JSON and JSON-MIN) and "
        ".csv (annotations)"
    )


def credit(votes: Iterable[Vote], annotator: str) -> list[Vote]:
    """Name the author of votes that name none, and say that they come from a table where nothing is said of it."""
    return [
        replace(
            vote,
            annotation=replace(
                vote.annotation,
                annotator=vote.annotation.annotator or annotator,
                extra={**vote.annotation.extra, "source": vote.annotation.extra.get("source") or TABLE},
            ),
        )
        for vote in votes
    ]


def read_all_votes(paths: Iterable[Path], names: Mapping[str, str] | None = None) -> list[Vote]:
    """Read files one after the other and refuse contradictions between them; of corrections the last words are kept."""
    votes = last_words(vote for path in paths for vote in read_votes(path, names))
    check_votes(votes)
    return votes


def last_words(votes: Iterable[Vote]) -> list[Vote]:
    """Keep of the corrections that a reader gave one text at one place the last; all else as it is."""
    kept: dict[object, Vote] = {}
    for number, vote in enumerate(votes):
        text = vote.annotation.text_sha256[:_SHORTEST_DIGEST]
        key = (vote.identity, text) if is_correction(vote.annotation) else number
        other = kept.get(key)
        if other is None or not _is_later(other, vote):
            kept[key] = vote
        if other is not None and _is_same_file(other, vote):
            kept[key] = replace(kept[key], overruled=max(other.moment, vote.moment))
    return list(kept.values())


def check_votes(votes: Iterable[Vote]) -> None:
    """Refuse two labels of one annotator, or of the adjudication, for one paragraph.

    Raises
    ------
    DataError
        Naming both rows.
    """
    first: dict[Identity, Vote] = {}
    for vote in votes:
        other = first.setdefault(vote.identity, vote)
        if other.annotation.section_type != vote.annotation.section_type:
            raise _contradiction(other, vote, "keep one of the two")
        _check_texts(other, vote)


def merge(known: Sequence[Vote], new: Sequence[Vote], *, replace_known: bool = False) -> Merged:
    """Add what is new to what is known; what is known already changes nothing.

    Readers of the served page may change their minds: their later correction replaces an earlier one.

    Raises
    ------
    DataError
        If an annotator contradicts themselves, naming both rows; not where ``replace_known`` lets the new one win.
    """
    words = last_words(new)
    check_votes(known)
    check_votes(words)
    at = {vote.identity: i for i, vote in enumerate(known)}
    annotations = [vote.annotation for vote in known]
    n_added = n_replaced = n_known = 0
    n_overruled = len(new) - len(words)
    for vote in words:
        position = at.get(vote.identity)
        if position is None:
            at[vote.identity] = len(annotations)
            annotations.append(vote.annotation)
            n_added += 1
            continue
        held = annotations[position]
        both_corrections = is_correction(held) and is_correction(vote.annotation)
        if held.section_type == vote.annotation.section_type and _same_text(held, vote.annotation):
            n_known += 1
            if both_corrections and vote.moment > held.extra.get("time", ""):
                annotations[position] = vote.annotation
        elif both_corrections and held.extra.get("time", "") > vote.moment:
            n_overruled += 1
        elif both_corrections or replace_known:
            annotations[position] = vote.annotation
            n_replaced += 1
        else:
            _check_texts(known[position], vote)
            raise _contradiction(known[position], vote, "keep one of the two, or let the new one win with --replace")
    return Merged(annotations, n_added, n_replaced, n_known, n_overruled)


def take_into(path: Path, new: Sequence[Vote], *, replace_known: bool = False) -> Merged:
    """Merge votes into an annotation file, which is made if it is not there and replaced as a whole."""
    with LineFile(path, lambda tail: True).locked():
        remove_leftovers(path.parent)
        known = _read_csv(path) if path.exists() else []
        merged = merge(known, new, replace_known=replace_known)
        if merged.annotations != [vote.annotation for vote in known] or not path.exists():
            write_durably(path, to_csv(map(to_row, merged.annotations), columns_for(read_header(path))))
    return merged


def _read_csv(path: Path) -> list[Vote]:
    return [Vote(found, f"line {found.line} of {path}") for found in read_annotations(path)]


def _is_later(one: Vote, other: Vote) -> bool:
    """Compare lines of one file, which only grows, or else times: written in UTC and alike, they order as letters do.

    A clock may be set back between two corrections; lines never change their order.
    """
    if _is_same_file(one, other):
        return one.annotation.line > other.annotation.line
    return one.moment > other.moment


def _is_same_file(one: Vote, other: Vote) -> bool:
    files = (vote.where.partition(" of ")[2] for vote in (one, other))
    return bool(one.annotation.line and other.annotation.line) and len(set(files)) == 1


def _same_text(one: Annotation, other: Annotation) -> bool:
    n = min(len(one.text_sha256), len(other.text_sha256))
    return one.text_sha256[:n] == other.text_sha256[:n]


def _check_texts(one: Vote, other: Vote) -> None:
    if not _same_text(one.annotation, other.annotation):
        raise DataError(
            f"{_name(one)} and {_name(other)} are about different texts of paragraph {one.annotation.paragraph} of "
            f"{one.annotation.article_id!r} (sha256 {one.annotation.text_sha256!r} and "
            f"{other.annotation.text_sha256!r}); the article was edited between them: read the paragraph again"
        )


def _contradiction(one: Vote, other: Vote, remedy: str) -> DataError:
    a, b = one.annotation, other.annotation
    who = "the adjudication" if is_settlement(a) else f"annotator {a.annotator!r}"
    return DataError(
        f"{who} labels paragraph {a.paragraph} of {a.article_id!r} {a.section_type!r} on {_name(one)} and "
        f"{b.section_type!r} on {_name(other)}; {remedy}"
    )


def _name(vote: Vote) -> str:
    time = vote.annotation.extra.get("time")
    return f"{vote.where} ({time})" if time else vote.where
