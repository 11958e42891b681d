"""What a test split must not share with its training split, looked for independently of how they were split."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from crosshead.corpora.duplicates import Duplicate, near_duplicates
from crosshead.errors import DataError


@dataclass(frozen=True)
class Leaks:
    """Everything that stands on both sides."""

    articles: tuple[str, ...]
    groups: tuple[str, ...]
    duplicates: tuple[tuple[str, str, float], ...]
    """(paragraph_id in train, paragraph_id in test, Jaccard similarity); 1.0 for the same words."""
    n_train: int
    n_test: int
    threshold: float

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.articles or self.groups or self.duplicates)

    def check(self) -> None:
        """Raise a DataError that names a leak, if there is one."""
        if self.articles:
            self._refuse(f"article {self.articles[0]!r} is in both the train and the test split")
        if self.groups:
            self._refuse(f"group {self.groups[0]!r} is in both the train and the test split")
        if self.duplicates:
            first, second, similarity = self.duplicates[0]
            self._refuse(f"paragraph {first!r} of the train split is {similarity:.0%} {second!r} of the test split")

    def to_markdown(self) -> str:
        """Write the report for people; it names paragraphs and quotes none."""
        lines = [
            "# Leaks between the train and the test split",
            f"Compared: {self.n_train} paragraphs in train, {self.n_test} in test; near-duplicates have a Jaccard "
            f"similarity of word 5-grams of at least {self.threshold}.",
            f"- articles on both sides: {_listed(self.articles)}",
            f"- groups on both sides: {_listed(self.groups)}",
            f"- paragraphs that are the same or nearly the same on both sides: {len(self.duplicates) or 'none'}",
        ]
        if self.duplicates:
            rows = [f"| {first} | {second} | {similarity:.2f} |" for first, second, similarity in self.duplicates]
            lines.append("\n".join(["| train | test | similarity |", "| --- | --- | --- |", *rows]))
        return "\n\n".join(lines[:2]) + "\n\n" + "\n".join(lines[2:5]) + "\n" + "".join(f"\n{x}\n" for x in lines[5:])

    def _refuse(self, what: str) -> None:
        n_more = len(self.articles) + len(self.groups) + len(self.duplicates) - 1
        more = f" ({n_more} more leaks)" if n_more else ""
        raise DataError(f"{what}{more}; scores on such a test split would flatter: make the splits again with prepare")


def find_leaks(
    texts: Sequence[str],
    paragraph_ids: Sequence[str],
    article_ids: Sequence[str],
    group_ids: Sequence[str],
    is_test: Sequence[bool],
    threshold: float = 0.8,
) -> Leaks:
    """Compare the two sides of a split.

    Parameters
    ----------
    texts, paragraph_ids, article_ids, group_ids, is_test
        One item for each row of both splits.
    threshold : float, default=0.8
        Least Jaccard similarity of word 5-grams that counts as the same text.
    """
    pairs = [_train_first(pair, is_test) for pair in near_duplicates(texts, threshold)]
    return Leaks(
        articles=_on_both_sides(article_ids, is_test),
        groups=_on_both_sides(group_ids, is_test),
        duplicates=tuple(
            (paragraph_ids[pair.first], paragraph_ids[pair.second], pair.similarity)
            for pair in pairs
            if is_test[pair.first] != is_test[pair.second]
        ),
        n_train=len(texts) - sum(is_test),
        n_test=sum(is_test),
        threshold=threshold,
    )


def _train_first(pair: Duplicate, is_test: Sequence[bool]) -> Duplicate:
    return Duplicate(pair.second, pair.first, pair.similarity) if is_test[pair.first] else pair


def _on_both_sides(names: Sequence[str], is_test: Sequence[bool]) -> tuple[str, ...]:
    sides: tuple[set[str], set[str]] = (set(), set())
    for name, side in zip(names, is_test, strict=True):
        sides[side].add(name)
    return tuple(sorted(sides[0] & sides[1]))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
