"""Articles, annotations, contrast sets and single paragraphs become the paragraph table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal

from crosshead.corpora import notes
from crosshead.corpora.annotations import (
    Annotation,
    check_annotations,
    count_votes,
    given_annotations,
    read_annotations,
)
from crosshead.corpora.contrast_sets import ContrastParagraph, check_contrast_sets, read_contrast_sets
from crosshead.corpora.corpus import (
    ARTICLE,
    CONTRAST_SET,
    SINGLE,
    SPLITS,
    Row,
    article_rows,
    contrast_rows,
    digest_rows,
    make_table,
    remove_summary,
    write_file,
    write_table,
)
from crosshead.corpora.duplicates import Grouping, group_articles
from crosshead.corpora.heading_labels import HeadingReport, label_by_headings, report_headings
from crosshead.corpora.leaks import Leaks, find_leaks
from crosshead.corpora.single_paragraphs import (
    Joined,
    SingleParagraph,
    check_single_paragraphs,
    join,
    read_single_paragraphs,
    single_rows,
)
from crosshead.corpora.splits import TestSplit, check_apart, split_given, split_test
from crosshead.errors import ConfigError, DataError
from crosshead.readers.files import ArticleStream, read_articles
from crosshead.readers.formats import stem_of
from crosshead.readers.inputs import Unreadable, below
from crosshead.settings import telling

if TYPE_CHECKING:
    from datasets import DatasetDict

    from crosshead.articles import Article
    from crosshead.schema import Settings
    from crosshead.taxonomy import Taxonomy

Labels = Literal["annotations", "headings", "both", "given"]

Report = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Prepared:
    """The paragraph table and everything that was found out on the way."""

    rows: Mapping[str, Sequence[Row]]
    """The rows of each split."""
    section_types: tuple[str, ...]
    headings: HeadingReport
    leaks: Leaks
    kept_together: Sequence[tuple[str, str, float]]
    """(paragraph_id, paragraph_id, Jaccard similarity) of the near-duplicates that connect articles."""
    counts: Mapping[str, Any]
    settings: Mapping[str, Any]
    notes: Sequence[str]
    """What a user should know, each in a sentence."""
    left_out: Sequence[tuple[str, str, float]] = ()
    """(paragraph_id, held-out paragraph_id, similarity) of the single paragraphs that repeat what is tested."""
    unreadable: Sequence[Unreadable] = ()
    """What could not be read and was passed over, because the settings allow that."""

    @cached_property
    def table(self) -> DatasetDict:
        """The rows as a DatasetDict."""
        return make_table(self.rows)

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Counts, digest and settings, as written to ``corpus.json``."""
        headings = self.headings
        agreement = {"overall": headings.overall, **headings.by_section_type}
        return {
            "digest": digest_rows(self.rows),
            "settings": dict(self.settings),
            "section_types": list(self.section_types),
            **self.counts,
            "splits": {name: _describe_split(self.rows[name], self.section_types) for name in SPLITS},
            "headings": {
                "below_headings": headings.n_below_headings,
                "labelled": headings.n_labelled,
                "agreement": {name: {**asdict(found), "share": found.share} for name, found in agreement.items()},
            },
            "notes": list(self.notes),
        }

    def leaks_markdown(self) -> str:
        """Write the leak report, with what was kept together or left out so that nothing leaks."""
        lines = [self.leaks.to_markdown(), "## Articles that were kept together\n"]
        if self.kept_together:
            lines.append(_pairs("repeated by", self.kept_together))
        else:
            lines.append("None: no paragraph returns in another article.")
        if self.left_out:
            lines.append("\n## Single paragraphs that were left out\n")
            lines.append(_pairs("repeats, of the test split", self.left_out))
        return "\n".join(lines) + "\n"


def prepare(
    articles: Sequence[Article],
    annotations: Sequence[Annotation],
    contrast_sets: Sequence[ContrastParagraph],
    taxonomy: Taxonomy,
    *,
    single_paragraphs: Sequence[SingleParagraph] = (),
    labels: Labels,
    test_share: float,
    seed: int,
    duplicate_threshold: float = 0.8,
    test_ids: Collection[str] | None = None,
    boilerplate: Literal["leave_out", "keep"] = "leave_out",
) -> Prepared:
    """Label, group and split the paragraphs.

    Parameters
    ----------
    articles : sequence of Article
        Each with an id of its own.
    annotations : sequence of Annotation
        Checked against the articles whatever ``labels`` says, and compared with the headings.
    contrast_sets : sequence of ContrastParagraph
    taxonomy : Taxonomy
    single_paragraphs : sequence of SingleParagraph
        Only trained on: what is held out is the same without them.
    labels : {"annotations", "headings", "both", "given"}
        Where an article's section types come from; with ``both``, an annotation wins over a heading; with ``given``,
        the articles' own table names them.
    test_share : float
        Share of the rows that is held out.
    seed : int
        The same seed and input give the same table, byte for byte.
    duplicate_threshold : float, default=0.8
        Least Jaccard similarity of word 5-grams that keeps two articles together.
    test_ids : collection of str, optional
        The articles that are held out, where they were chosen beforehand. What they share with the others is then
        told and not refused: the choice was not ours.
    boilerplate : {"leave_out", "keep"}
        What happens to paragraphs that return in many articles.

    Raises
    ------
    DataError
        If the input contradicts itself, or is too small to be split.
    """
    _check_ids(articles)
    if labels == "given":
        annotations = [*annotations, *given_annotations(articles)]
    if labels == "given" and not annotations:
        raise ConfigError(
            "corpus.labels is 'given' but no article has section types; give the table a column section_types with a "
            "list for each article (section_type where a row is a paragraph), or set corpus.labels to another source"
        )
    if labels == "annotations" and not annotations:
        raise ConfigError(
            "corpus.labels is 'annotations' but there are none; set corpus.annotations, or corpus.labels=headings"
        )
    check_annotations(annotations, articles, taxonomy.section_types)
    names = [article.article_id for article in articles]
    check_contrast_sets(contrast_sets, names, taxonomy.section_types)
    names += [item.set_id for item in contrast_sets]
    check_single_paragraphs(single_paragraphs, names, taxonomy.section_types)
    verdicts = count_votes(annotations)
    by_heading = label_by_headings(articles, taxonomy)
    headings = report_headings(articles, taxonomy, by_heading, verdicts.section_types)
    source = "annotations" if labels == "given" else labels
    found = article_rows(articles, verdicts, by_heading, source) + contrast_rows(contrast_sets)
    _check_labels([row for row in found if row.article_id not in (test_ids or ())] or found, labels, headings)

    ids = [row.article_id for row in found]
    grouping = group_articles([row.text for row in found], ids, threshold=duplicate_threshold)
    everywhere = {_id(found, position) for position in grouping.boilerplate}
    if boilerplate == "keep":
        grouping = replace(grouping, boilerplate=frozenset())
    rows = _group(found, grouping)
    split = _split(rows, test_share, seed) if test_ids is None else split_given([r.article_id for r in rows], test_ids)
    singles = single_rows(single_paragraphs)
    joined = join(rows, split.is_test.tolist(), singles, duplicate_threshold, everywhere)
    leaks = _find_leaks(joined.rows, joined.is_test, duplicate_threshold)
    if test_ids is None and boilerplate == "leave_out":
        leaks.check()

    n_disputed = len(single_paragraphs) - len(singles)
    counts = _count(articles, contrast_sets, joined.rows, grouping)
    counts["unlabelled"] = headings.n_paragraphs + len(contrast_sets) - len(found) + n_disputed
    counts["disputed"] = (len(verdicts.disputed) if labels != "headings" else 0) + n_disputed
    return Prepared(
        rows={"train": _side(joined, is_test=False), "test": _side(joined, is_test=True)},
        section_types=taxonomy.section_types,
        headings=headings,
        leaks=leaks,
        kept_together=[
            *((_id(found, pair.first), _id(found, pair.second), pair.similarity) for pair in grouping.pairs),
            *joined.kept_together,
        ],
        left_out=joined.left_out,
        counts=counts,
        settings={
            "labels": labels,
            "test_share": test_share if test_ids is None else None,
            "seed": seed,
            "duplicate_threshold": duplicate_threshold,
        },
        notes=[
            *(notes.given_notes(articles) if labels == "given" else []),
            *notes.label_notes([*found, *singles], taxonomy, counts),
            *notes.unlearned_notes([*found, *singles], test_ids),
            *notes.boilerplate_notes(found, grouping),
            *split.notes,
            *notes.left_out_notes(joined.left_out),
            *notes.leak_notes(leaks),
        ],
    )


def run(settings: Settings, report: Report = lambda what, done, total: None) -> Prepared:
    """Read the articles, prepare the table, and write it to ``settings.prepared_dir``.

    Writes ``train.parquet``, ``test.parquet``, ``corpus.json``, ``headings.md``, ``headings.csv`` and ``leaks.md``.
    """
    corpus, root = settings.corpus, settings.root
    stream, articles = _read(settings, corpus.articles, report)
    held_out: list[Article] = []
    if corpus.test_articles is not None:
        other, held_out = _read(settings, corpus.test_articles, report)
        stream.unreadable.extend(other.unreadable)
        check_apart([article.article_id for article in articles], [article.article_id for article in held_out])
    articles += held_out
    annotations = read_annotations(root / corpus.annotations) if corpus.annotations else []
    prepared = prepare(
        articles,
        _without_skipped(annotations, articles, stream.unreadable),
        read_contrast_sets(root / corpus.contrast_sets) if corpus.contrast_sets else [],
        settings.taxonomy,
        single_paragraphs=read_single_paragraphs(root / corpus.single_paragraphs) if corpus.single_paragraphs else (),
        labels=corpus.labels,
        test_share=corpus.test_share,
        seed=settings.seed,
        duplicate_threshold=corpus.duplicate_threshold,
        test_ids=None if corpus.test_articles is None else {article.article_id for article in held_out},
        boilerplate=corpus.boilerplate,
    )
    if stream.unreadable:
        told = [*notes.unreadable_notes(len(stream.unreadable)), *prepared.notes]
        prepared = replace(prepared, notes=told, unreadable=tuple(stream.unreadable))
    # Whoever has to prepare the same table again can be told how.
    prepared = replace(prepared, settings={**prepared.settings, "overrides": list(telling(settings))})
    folder = settings.prepared_dir
    remove_summary(folder)
    write_file(folder / "headings.md", prepared.headings.to_markdown().encode())
    write_file(folder / "headings.csv", prepared.headings.to_csv().encode())
    write_file(folder / "leaks.md", prepared.leaks_markdown().encode())
    write_table(prepared.table, prepared.summary, folder)
    return prepared


def _read(settings: Settings, given: Sequence[str], report: Report) -> tuple[ArticleStream, list[Article]]:
    stream = read_articles(
        [below(settings.root, path) for path in given],
        on_error="collect" if settings.on_unreadable == "skip" else "raise",
    )
    articles = []
    for article in stream:
        articles.append(article)
        report("reading", min(len(articles), stream.n_files), stream.n_files)
    return stream, articles


def _without_skipped(
    annotations: Sequence[Annotation], articles: Sequence[Article], unreadable: Sequence[Unreadable]
) -> list[Annotation]:
    """Leave out the annotations of articles that could not be read."""
    skipped = {stem_of(PurePath(item.path)) for item in unreadable} - {article.article_id for article in articles}
    return [annotation for annotation in annotations if annotation.article_id not in skipped]


def _check_ids(articles: Sequence[Article]) -> None:
    if not articles:
        raise DataError("the corpus has no article; name files, folders or patterns in corpus.articles")
    seen: dict[str, int] = {}
    for number, article in enumerate(articles, 1):
        if not article.article_id:
            raise DataError(f"article {number} ({article.title!r}) has no id; give each article one of its own")
        first = seen.setdefault(article.article_id, number)
        if first != number:
            raise DataError(
                f"articles {first} and {number} of {len(articles)} have the same id {article.article_id!r}; "
                "rename one file, or give it another article_id"
            )


def _check_labels(rows: Sequence[Row], labels: Labels, headings: HeadingReport) -> None:
    found = sorted({row.section_type for row in rows})
    if len(found) < 2:
        remedy = (
            "name other section types in the table too"
            if labels == "given"
            else "annotate paragraphs, or add phrases to the taxonomy for the headings that the articles have"
        )
        raise DataError(
            f"the labelled paragraphs to train on have {len(found)} section type{'' if len(found) == 1 else 's'} "
            f"({', '.join(found) or 'none'}), of {headings.n_paragraphs} paragraphs read with corpus.labels={labels}; "
            f"a tagger needs 2 at least: {remedy}"
        )


def _group(rows: Sequence[Row], grouping: Grouping) -> list[Row]:
    return [
        replace(row, group_id=group_id)
        for position, (row, group_id) in enumerate(zip(rows, grouping.group_ids, strict=True))
        if position not in grouping.boilerplate
    ]


def _split(rows: Sequence[Row], test_share: float, seed: int) -> TestSplit:
    return split_test(
        [row.group_id for row in rows],
        [row.section_type for row in rows],
        strata=[f"{row.section_type} {row.origin} {row.setting}" for row in rows],
        test_share=test_share,
        seed=seed,
    )


def _find_leaks(rows: Sequence[Row], is_test: Sequence[bool], threshold: float) -> Leaks:
    return find_leaks(
        [row.text for row in rows],
        [row.paragraph_id for row in rows],
        [row.article_id for row in rows],
        [row.group_id for row in rows],
        is_test,
        threshold,
    )


def _side(joined: Joined, *, is_test: bool) -> list[Row]:
    return [row for row, tested in zip(joined.rows, joined.is_test, strict=True) if tested is is_test]


def _pairs(title: str, pairs: Sequence[tuple[str, str, float]]) -> str:
    rows = [f"| {first} | {second} | {similarity:.2f} |" for first, second, similarity in pairs]
    return "\n".join([f"| paragraph | {title} | similarity |", "| --- | --- | --- |", *rows])


def _id(rows: Sequence[Row], position: int) -> str:
    return rows[position].paragraph_id


def _count(
    articles: Sequence[Article], contrast_sets: Sequence[ContrastParagraph], rows: Sequence[Row], grouping: Grouping
) -> dict[str, Any]:
    left_out: Counter[str] = Counter()
    for article in articles:
        left_out.update(article.left_out)
    return {
        "articles": len(articles),
        "contrast_sets": len({item.set_id for item in contrast_sets}),
        "single_paragraphs": sum(row.origin == SINGLE for row in rows),
        "paragraphs": len(rows),
        "boilerplate": len(grouping.boilerplate),
        "left_out": dict(sorted(left_out.items())),
    }


def _describe_split(rows: Sequence[Row], section_types: Sequence[str]) -> dict[str, Any]:
    n_of_type = Counter(row.section_type for row in rows)
    return {
        "paragraphs": len(rows),
        "articles": len({row.article_id for row in rows if row.origin == ARTICLE}),
        "contrast_sets": len({row.article_id for row in rows if row.origin == CONTRAST_SET}),
        "single_paragraphs": sum(row.origin == SINGLE for row in rows),
        "groups": len({row.group_id for row in rows}),
        "section_types": {name: n_of_type[name] for name in section_types},
        "label_sources": dict(sorted(Counter(row.label_source for row in rows).items())),
    }
