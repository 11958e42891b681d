"""Labels from headings, and a report of what every heading was taken for."""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from crosshead.corpora.annotations import Place
from crosshead.taxonomy import HeadingMatch, Taxonomy

if TYPE_CHECKING:
    from crosshead.articles import Article

_COUNTS = ("n_sections", "n_articles", "n_paragraphs")
_CSV_COLUMNS = ("heading", *_COUNTS, "section_type", "reason", "suggestion", "n_compared", "n_agreed")


@dataclass(frozen=True, slots=True)
class HeadingUse:
    """One heading in all the articles that have it."""

    heading: str
    match: HeadingMatch
    n_sections: int
    """How often it stands in the articles."""
    n_articles: int
    n_paragraphs: int
    """Paragraphs directly below it."""
    n_compared: int
    """Those of them that it labels and that are annotated too."""
    n_agreed: int


@dataclass(frozen=True, slots=True)
class Agreement:
    """How often the labels of headings are those of the annotations, for one section type or over all."""

    n_by_heading: int
    """Annotated paragraphs that a heading gives this section type."""
    n_by_annotation: int
    """Paragraphs below some heading that says a section type, annotated as this one."""
    n_agreed: int

    @property
    def share(self) -> float | None:
        """Share of the headings' labels that the annotations confirm; None where nothing was compared."""
        return self.n_agreed / self.n_by_heading if self.n_by_heading else None


@dataclass(frozen=True)
class HeadingReport:
    """What every heading maps to and why, and how often that agrees with the annotations."""

    section_types: tuple[str, ...]
    uses: tuple[HeadingUse, ...]
    n_paragraphs: int
    n_below_headings: int
    n_labelled: int
    confusion: Mapping[tuple[str, str], int]
    """Counts by (section type from the heading, section type from the annotation)."""

    @property
    def overall(self) -> Agreement:
        """Agreement over all section types."""
        n_compared = sum(self.confusion.values())
        return Agreement(n_compared, n_compared, sum(self.confusion.get((s, s), 0) for s in self.section_types))

    @property
    def by_section_type(self) -> dict[str, Agreement]:
        """Agreement for each section type."""
        return {
            name: Agreement(
                sum(self.confusion.get((name, other), 0) for other in self.section_types),
                sum(self.confusion.get((other, name), 0) for other in self.section_types),
                self.confusion.get((name, name), 0),
            )
            for name in self.section_types
        }

    def to_markdown(self) -> str:
        """Write the report for people: agreement, then unmapped, conflicting and mapped headings."""
        unmapped = [use for use in self.uses if use.match.section_type is None and not use.match.candidates]
        conflicts = [use for use in self.uses if use.match.candidates]
        mapped = [use for use in self.uses if use.match.section_type is not None]
        parts = [
            "# Headings",
            f"{self.n_below_headings} of {self.n_paragraphs} paragraphs stand below a heading; headings give "
            f"{self.n_labelled} of them a section type. Different headings: {len(mapped)} map to a section type, "
            f"{len(conflicts)} to more than one, {len(unmapped)} to none.",
            *self._agreement_markdown(),
            "## Headings that map to nothing",
            "Most paragraphs first. The suggestion is the section type whose words the heading shares most; to map a "
            "heading, add a phrase or a pattern to the taxonomy.",
            _table(
                ["heading", "sections", "paragraphs", "suggestion"],
                [[u.heading, u.n_sections, u.n_paragraphs, u.match.suggestion or ""] for u in unmapped],
            ),
            "## Headings that map to more than one section type",
            _table(
                ["heading", "sections", "paragraphs", "why"],
                [[u.heading, u.n_sections, u.n_paragraphs, u.match.reason] for u in conflicts],
            ),
            "## Headings that map to a section type",
            _table(
                ["heading", "sections", "paragraphs", "section type", "why", "annotations agree"],
                [
                    [u.heading, u.n_sections, u.n_paragraphs, u.match.section_type, u.match.reason, _of(u)]
                    for u in mapped
                ],
            ),
        ]
        return "\n\n".join(parts) + "\n"

    def to_csv(self) -> str:
        """Write one line a heading, for a spreadsheet."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_CSV_COLUMNS)
        for use in self.uses:
            facts = {**asdict(use), **asdict(use.match)}
            writer.writerow(["" if facts[column] is None else facts[column] for column in _CSV_COLUMNS])
        return file.getvalue()

    def _agreement_markdown(self) -> Iterator[str]:
        yield "## Agreement with the annotations"
        if not self.confusion:
            yield "No paragraph has both a label from its heading and an annotation."
            return
        overall = self.overall
        yield (
            f"{overall.n_agreed} of {overall.n_by_heading} labels from headings are those of the annotations "
            f"({overall.share:.1%})."
        )
        rows: list[list[object]] = []
        for name, agreement in self.by_section_type.items():
            share = "" if agreement.share is None else f"{agreement.share:.1%}"
            counts = [self.confusion.get((name, other), 0) for other in self.section_types]
            rows.append([name, agreement.n_by_heading, share, *counts])
        annotated = [f"annotated {name}" for name in self.section_types]
        yield _table(["heading says", "paragraphs", "agree", *annotated], rows)


def label_by_headings(articles: Sequence[Article], taxonomy: Taxonomy) -> dict[Place, HeadingMatch]:
    """Match every paragraph's path of headings; paragraphs without a heading are left out."""
    known: dict[tuple[str, ...], HeadingMatch] = {}
    labels: dict[Place, HeadingMatch] = {}
    for article in articles:
        for paragraph in article.paragraphs:
            path = tuple(paragraph.headings)
            if path:
                if path not in known:
                    known[path] = taxonomy.match_path(path)
                labels[article.article_id, paragraph.index] = known[path]
    return labels


def report_headings(
    articles: Sequence[Article],
    taxonomy: Taxonomy,
    labels: Mapping[Place, HeadingMatch],
    annotated: Mapping[Place, str],
) -> HeadingReport:
    """Count what the headings say, and compare it with the annotations."""
    tally = _Tally()
    confusion: Counter[tuple[str, str]] = Counter()
    for article in articles:
        above: Sequence[str] = ()
        for paragraph in article.paragraphs:
            place = (article.article_id, paragraph.index)
            tally.open_sections(article.article_id, above, paragraph.headings)
            above = paragraph.headings
            if place in labels:
                truth = annotated.get(place)
                label = labels[place].section_type
                tally.add_paragraph(paragraph.headings[-1], label, truth)
                if label is not None and truth is not None:
                    confusion[label, truth] += 1
    return HeadingReport(
        section_types=taxonomy.section_types,
        uses=tally.uses(taxonomy),
        n_paragraphs=sum(len(article.paragraphs) for article in articles),
        n_below_headings=len(labels),
        n_labelled=sum(match.section_type is not None for match in labels.values()),
        confusion=dict(confusion),
    )


@dataclass
class _Tally:
    """Counts by heading; spellings that differ in case or spacing only are one heading."""

    spellings: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    articles: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    n_paragraphs: Counter[str] = field(default_factory=Counter)
    n_compared: Counter[str] = field(default_factory=Counter)
    n_agreed: Counter[str] = field(default_factory=Counter)

    def open_sections(self, article_id: str, above: Sequence[str], path: Sequence[str]) -> None:
        """Count the headings that stand between two paragraphs."""
        for level, heading in enumerate(path):
            if tuple(above[: level + 1]) != tuple(path[: level + 1]):
                self.spellings[_key(heading)][" ".join(heading.split())] += 1
                self.articles[_key(heading)].add(article_id)

    def add_paragraph(self, heading: str, label: str | None, truth: str | None) -> None:
        """Count a paragraph directly below a heading."""
        self.n_paragraphs[_key(heading)] += 1
        if label is not None and truth is not None:
            self.n_compared[_key(heading)] += 1
            self.n_agreed[_key(heading)] += label == truth

    def uses(self, taxonomy: Taxonomy) -> tuple[HeadingUse, ...]:
        """Give the headings, those with most paragraphs first."""
        found = [
            HeadingUse(
                heading=min(spellings, key=lambda spelling: (-spellings[spelling], spelling)),
                match=taxonomy.match_heading(key),
                n_sections=spellings.total(),
                n_articles=len(self.articles[key]),
                n_paragraphs=self.n_paragraphs[key],
                n_compared=self.n_compared[key],
                n_agreed=self.n_agreed[key],
            )
            for key, spellings in self.spellings.items()
        ]
        return tuple(sorted(found, key=lambda use: (-use.n_paragraphs, -use.n_sections, use.heading)))


def _key(heading: str) -> str:
    return " ".join(heading.casefold().split())


def _of(use: HeadingUse) -> str:
    return f"{use.n_agreed} of {use.n_compared}" if use.n_compared else ""


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    if not rows:
        return "None."
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
