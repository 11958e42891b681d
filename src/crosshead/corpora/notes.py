"""What a user should know of a paragraph table, each in a sentence."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from crosshead.articles import GIVEN, Article
from crosshead.corpora.corpus import Row
from crosshead.corpora.duplicates import Grouping
from crosshead.corpora.leaks import Leaks
from crosshead.taxonomy import Taxonomy


def given_notes(articles: Sequence[Article]) -> list[str]:
    """Say which articles have no section types where others have them."""
    without = [article.article_id for article in articles if article.metadata.get(GIVEN) is None]
    if not without:
        return []
    has, it = ("has", "it") if len(without) == 1 else ("have", "them")
    return [
        f"{len(without)} of {_n(len(articles), 'article')} {has} no {GIVEN}, such as {without[0]!r}: nothing is "
        f"learned from {it}"
    ]


def label_notes(rows: Sequence[Row], taxonomy: Taxonomy, counts: Mapping[str, Any]) -> list[str]:
    """Say what has no label, and which section type labels nothing."""
    notes = []
    if n := counts["unlabelled"]:
        notes.append(
            f"{_n(n, 'paragraph')} {'has no label and is' if n == 1 else 'have no label and are'} left out of the table"
        )
    if n := counts["disputed"]:
        notes.append(f"{n} of them because {'its' if n == 1 else 'their'} readers are divided")
    for name in taxonomy.section_types:
        if not any(row.section_type == name for row in rows):
            notes.append(f"section type {name!r} labels no paragraph: it can be neither learned nor tagged")
    return notes


def unlearned_notes(rows: Sequence[Row], test_ids: Collection[str] | None) -> list[str]:
    """Say which section types are tested but not trained, where the held-out articles were chosen beforehand."""
    if test_ids is None:
        return []
    learned = {row.section_type for row in rows if row.article_id not in test_ids}
    return [
        f"section type {name!r} stands in corpus.test_articles alone: it is tested and cannot be learned"
        for name in sorted({row.section_type for row in rows} - learned)
    ]


def boilerplate_notes(rows: Sequence[Row], grouping: Grouping) -> list[str]:
    """Say what was left out because it returns in many articles."""
    if not grouping.boilerplate:
        return []
    n, example = len(grouping.boilerplate), rows[min(grouping.boilerplate)].paragraph_id
    return [
        f"{_n(n, 'paragraph')} {'returns' if n == 1 else 'return'} in many articles, such as {example!r}; "
        f"{'it is' if n == 1 else 'they are'} boilerplate and left out of the table"
    ]


def left_out_notes(left_out: Sequence[tuple[str, str, float]]) -> list[str]:
    """Say which single paragraphs are not trained on because they repeat what is tested."""
    if not left_out:
        return []
    n, (first, second, _) = len(left_out), left_out[0]
    repeats, them = (
        ("repeats a held-out paragraph and is", "it") if n == 1 else ("repeat held-out paragraphs and are", "them")
    )
    return [f"{_n(n, 'single paragraph')} {repeats} left out, such as {first!r} of {second!r}; leaks.md lists {them}"]


def leak_notes(leaks: Leaks) -> list[str]:
    """Say what stands on both sides of a split that was not made here; scores on it flatter."""
    if not leaks:
        return []
    n = len(leaks.duplicates)
    return [
        f"{_n(n, 'near-duplicate pair')} of paragraphs {'stands' if n == 1 else 'stand'} on both sides of the split; "
        f"leaks.md lists {'it' if n == 1 else 'them'}, and scores on such paragraphs flatter"
    ]


def unreadable_notes(n: int) -> list[str]:
    """Say how much was passed over."""
    if not n:
        return []
    return [f"{_n(n, 'input')} could not be read and {'was' if n == 1 else 'were'} passed over"]


def _n(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"
