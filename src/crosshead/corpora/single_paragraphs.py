"""Single paragraphs: labelled, of no article, and only trained on; they decide nothing about what is held out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from crosshead.corpora.corpus import SINGLE, Row
from crosshead.corpora.duplicates import Duplicate, connected, near_duplicates
from crosshead.corpora.paragraph_lines import Line, check_section_type, read_lines
from crosshead.errors import DataError
from crosshead.text import normalise


@dataclass(frozen=True, slots=True)
class SingleParagraph:
    """A labelled paragraph that belongs to no article; without a section type where its readers disagree."""

    paragraph_id: str
    text: str
    section_type: str | None
    votes: Mapping[str, str] = field(default_factory=dict)
    """What each reader said."""
    batch: str | None = None
    setting: str | None = None
    about: str | None = None
    line: int = 0


@dataclass(frozen=True)
class Joined:
    """Rows of articles and contrast sets with the single paragraphs that may be trained on behind them."""

    rows: list[Row]
    is_test: list[bool]
    left_out: Sequence[tuple[str, str, float]] = ()
    """(paragraph_id, held-out paragraph_id, Jaccard similarity) of single paragraphs that repeat what is tested."""
    kept_together: Sequence[tuple[str, str, float]] = ()
    """The same of those that repeat other training rows, and each other."""


def read_single_paragraphs(path: Path) -> list[SingleParagraph]:
    """Read a JSONL file with ``paragraph_id``, ``text`` and ``section_type`` on every line.

    Raises
    ------
    DataError
        If the file cannot be read or a line is no single paragraph; names the line.
    """
    keys = "paragraph_id, text, section_type …"
    lines = read_lines(path, "single paragraphs", setting="corpus.single_paragraphs", keys=keys)
    return [_parse(line) for line in lines]


def check_single_paragraphs(
    singles: Sequence[SingleParagraph], taken: Collection[str], section_types: Sequence[str]
) -> None:
    """Refuse an unknown label, a name that is ``taken`` by an article or a contrast set, and what is there twice."""
    names = set(taken)
    of_id: dict[str, int] = {}
    of_text: dict[str, int] = {}
    for item in singles:
        where = f"line {item.line} of the single paragraphs ({item.paragraph_id!r})"
        for name in (item.section_type, *item.votes.values()):
            if name is not None:
                check_section_type(name, section_types, where)
        if item.paragraph_id in names:
            raise DataError(f"{where} has the name of an article or of a contrast set; rename it, ids must differ")
        first = of_id.setdefault(item.paragraph_id, item.line)
        if first != item.line:
            raise DataError(f"{where} has the paragraph_id of line {first}; give each paragraph one of its own")
        first = of_text.setdefault(normalise(item.text), item.line)
        if first != item.line:
            raise DataError(f"{where} has the text of line {first}; remove one of the two")


def single_rows(singles: Sequence[SingleParagraph]) -> list[Row]:
    """Make a row of every single paragraph on which its readers agree; each is an article of one paragraph."""
    return [
        Row(
            paragraph_id=f"{item.paragraph_id}#0",
            article_id=item.paragraph_id,
            paragraph=0,
            text=item.text,
            headings=(),
            start=0,
            end=len(item.text),
            section_type=item.section_type,
            label_source=SINGLE,
            heading_section_type=None,
            genre=None,
            setting=item.setting or None,
            conflict=item.about or None,
            date=None,
            language=None,
            origin=SINGLE,
            group_id=item.paragraph_id,
        )
        for item in singles
        if item.section_type is not None
    ]


def join(
    rows: Sequence[Row], is_test: Sequence[bool], singles: Sequence[Row], threshold: float, boilerplate: Collection[str]
) -> Joined:
    """Put single paragraphs behind the rows of a split that was made without them.

    One that is nearly the text of a held-out paragraph is left out. The others join the groups of the training rows
    that they repeat, so that cross-validation keeps them together; the split stays as it is.

    Parameters
    ----------
    rows : sequence of Row
    is_test : sequence of bool
        Which of them are held out.
    singles : sequence of Row
        See :func:`single_rows`.
    threshold : float
        Least Jaccard similarity of word 5-grams that counts as the same text.
    boilerplate : collection of str
        Names of paragraphs that return in so many articles that repeating one connects nothing.
    """
    if not singles:
        return Joined(list(rows), list(is_test))
    held_out = [row for row, tested in zip(rows, is_test, strict=True) if tested]
    left_out = _repeated(held_out, singles, threshold)
    kept = [row for row in singles if row.paragraph_id not in left_out]
    learned = [row for row, tested in zip(rows, is_test, strict=True) if not tested]
    pairs = _connecting([*(row for row in learned if row.paragraph_id not in boilerplate), *kept], threshold)
    names = [*sorted({row.group_id for row in rows}), *sorted(row.group_id for row in kept)]
    group_of = _merged(names, [(first.group_id, second.group_id) for first, second, _ in pairs])
    return Joined(
        rows=[replace(row, group_id=group_of[row.group_id]) for row in [*rows, *kept]],
        is_test=[*is_test, *([False] * len(kept))],
        left_out=[(name, other, similarity) for name, (other, similarity) in left_out.items()],
        kept_together=[(a.paragraph_id, b.paragraph_id, similarity) for a, b, similarity in pairs],
    )


def _repeated(held_out: Sequence[Row], singles: Sequence[Row], threshold: float) -> dict[str, tuple[str, float]]:
    """Name the single paragraphs that repeat held-out ones, with what they repeat."""
    both = [*held_out, *singles]
    found: dict[str, tuple[str, float]] = {}
    pairs = near_duplicates([row.text for row in both], threshold)
    for pair in sorted(pairs, key=lambda pair: -pair.similarity):
        if pair.first < len(held_out) <= pair.second:
            found.setdefault(both[pair.second].paragraph_id, (both[pair.first].paragraph_id, pair.similarity))
    for pair in _same_words(pairs, len(held_out)):  # of several with the same words the first alone is compared
        first, second = both[pair.first].paragraph_id, both[pair.second].paragraph_id
        if first in found:
            found.setdefault(second, found[first])
    return found


def _connecting(rows: Sequence[Row], threshold: float) -> list[tuple[Row, Row, float]]:
    """Pair the rows that repeat each other, where one at least is a single paragraph."""
    pairs = near_duplicates([row.text for row in rows], threshold)
    found = [(rows[pair.first], rows[pair.second], pair.similarity) for pair in pairs]
    return [pair for pair in found if SINGLE in (pair[0].origin, pair[1].origin)]


def _same_words(pairs: Sequence[Duplicate], n_held_out: int) -> list[Duplicate]:
    return [pair for pair in pairs if pair.first >= n_held_out and pair.similarity == 1]


def _merged(names: Sequence[str], pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Give connected groups the name that comes first, so that no article is named after a single paragraph."""
    number = {name: position for position, name in enumerate(names)}
    roots = connected(len(names), [(number[first], number[second]) for first, second in pairs])
    return {name: names[root] for name, root in zip(names, roots, strict=True)}


def _parse(line: Line) -> SingleParagraph:
    name, text = line.need("paragraph_id", str), line.text()
    if not name.strip():
        raise DataError(f"{line.where} has an empty paragraph_id; give each paragraph one of its own")
    if "section_type" not in line.row:
        raise DataError(f"{line.where} has no section_type; name one, or null where readers disagree")
    votes = {} if line.row.get("votes") is None else line.row["votes"]
    if not isinstance(votes, dict) or not all(isinstance(said, str) for said in votes.values()):
        raise DataError(f"{line.where} has {votes!r:.80} for 'votes'; it must give each reader's section type")
    return SingleParagraph(
        paragraph_id=name,
        text=text,
        section_type=line.may("section_type"),
        votes=votes,
        batch=line.may("batch"),
        setting=line.may("setting"),
        about=line.may("about"),
        line=line.number,
    )
