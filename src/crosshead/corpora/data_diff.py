"""What changed between two versions of a corpus: articles, paragraphs, and labels with both their values.

A version is a folder, or a git revision of the project. A folder may be a project, its ``data/`` folder, or a folder of
articles alone.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from difflib import SequenceMatcher
from itertools import groupby
from pathlib import Path
from typing import Any

from crosshead.articles import Article
from crosshead.corpora.annotations import Annotation, count_votes, is_settlement, read_annotations
from crosshead.corpora.contrast_sets import read_contrast_sets
from crosshead.corpora.single_paragraphs import read_single_paragraphs
from crosshead.errors import DataError
from crosshead.readers import read_articles
from crosshead.text import text_digest

ARTICLES, ANNOTATIONS = "articles", "annotations.csv"
CONTRAST_SETS, SINGLE_PARAGRAPHS = "contrast_sets.jsonl", "single_paragraphs.jsonl"
CONTRAST_ANNOTATOR, SINGLE_ANNOTATOR = "contrast set", "single paragraph"
"""Who gives a label where no reader is named."""
GIT_SECONDS = 120.0
LEAST_SIMILARITY = 0.5
"""Share of common words from which a paragraph counts as edited, not as removed and another one added."""

Labels = Mapping[tuple[str, int], Mapping[str, str]]
"""Who gave a paragraph which section type."""


@dataclass(frozen=True)
class Version:
    """Articles with what people say of their paragraphs. A contrast set or a single paragraph counts as an article."""

    name: str
    articles: Mapping[str, Article]
    labels: Labels
    decided: Mapping[tuple[str, int], str]


@dataclass(frozen=True, slots=True)
class ParagraphChange:
    """A paragraph that was added (no old text), removed (no new one) or edited. Numbers are those of each version."""

    old_paragraph: int | None
    new_paragraph: int | None
    old_text: str | None
    new_text: str | None


@dataclass(frozen=True, slots=True)
class LabelChange:
    """What an annotator said of a paragraph before and after; None where they said nothing.

    Without an annotator it is what the votes decide, which is what training sees. ``paragraph`` is the number in the
    new version, or in the old one where the paragraph was removed.
    """

    article_id: str
    paragraph: int
    text: str
    annotator: str | None
    old: str | None
    new: str | None


@dataclass(frozen=True)
class ArticleChange:
    """An article that is in both versions; ``fields`` names what else changed: title, headings, metadata, order."""

    article_id: str
    paragraphs: Sequence[ParagraphChange]
    fields: Sequence[str]


@dataclass(frozen=True)
class DataDiff:
    """The difference between two versions."""

    old: str
    new: str
    added: Mapping[str, int]
    """Paragraphs of each article that is only in the new version."""
    removed: Mapping[str, int]
    changed: Sequence[ArticleChange] = ()
    labels: Sequence[LabelChange] = ()
    """Votes that changed, in articles that are in both versions."""
    decisions: Sequence[LabelChange] = ()
    counts: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Articles, paragraphs and labels of both versions."""

    def __bool__(self) -> bool:
        """Say whether anything differs."""
        return bool(self.added or self.removed or self.changed or self.labels or self.decisions)

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)


def diff(old: Version, new: Version) -> DataDiff:
    """Compare two versions. A label follows its paragraph, wherever that moved in its article."""
    changed: list[ArticleChange] = []
    labels: list[LabelChange] = []
    decisions: list[LabelChange] = []
    for article_id in [article_id for article_id in new.articles if article_id in old.articles]:
        before, after = old.articles[article_id], new.articles[article_id]
        pairs = _align(before.texts, after.texts)
        if change := _article_change(before, after, pairs):
            changed.append(change)
        for i, j in pairs:
            labels += _label_changes(old, new, article_id, i, j)
            decisions += _decision_change(old, new, article_id, i, j)
    return DataDiff(
        old=old.name,
        new=new.name,
        added={k: len(a.paragraphs) for k, a in new.articles.items() if k not in old.articles},
        removed={k: len(a.paragraphs) for k, a in old.articles.items() if k not in new.articles},
        changed=changed,
        labels=labels,
        decisions=decisions,
        counts={name: (a, b) for (name, a), b in zip(_counts(old).items(), _counts(new).values(), strict=True)},
    )


# -- reading a version -----------------------------------------------------------------------------------------------


def read_version(spec: str, root: Path, *, path: str = "data") -> Version:
    """Read a folder, or a git revision of the project at ``root``; a folder of that name comes first.

    Parameters
    ----------
    spec : str
        Such as ``.``, ``backup/data``, ``HEAD~1`` or ``v1.2``.
    root : Path
        The project.
    path : str, default='data'
        The corpus's folder in the project. Parts of it that DVC keeps are taken from DVC's cache or remote.

    Raises
    ------
    DataError
        If it is neither, or cannot be read.
    """
    folder = Path(spec)
    if folder.is_dir():
        return read_folder(folder, spec, path=path)
    with tempfile.TemporaryDirectory() as work:
        _extract(spec, root, path, Path(work))
        return read_folder(Path(work), spec, path=path)


def read_folder(folder: Path, name: str, *, path: str = "data") -> Version:
    """Read a project, a corpus folder, or a folder of articles."""
    data = next((f for f in (folder / path, folder) if (f / ARTICLES).is_dir()), None)
    articles = {article.article_id: article for article in read_articles([(data / ARTICLES) if data else folder])}
    annotations = read_annotations(data / ANNOTATIONS) if data and (data / ANNOTATIONS).is_file() else []
    labels: dict[tuple[str, int], dict[str, str]] = defaultdict(dict)
    for annotation in annotations:
        labels[annotation.article_id, annotation.paragraph][_who(annotation)] = annotation.section_type
    decided = dict(count_votes(annotations).section_types)
    if data and (data / CONTRAST_SETS).is_file():
        rows = sorted(read_contrast_sets(data / CONTRAST_SETS), key=lambda row: (row.set_id, row.paragraph))
        for set_id, group in groupby(rows, lambda row: row.set_id):
            members = list(group)
            articles[set_id] = Article.from_texts([row.text for row in members], article_id=set_id)
            for i, row in enumerate(members):
                labels[set_id, i] = {CONTRAST_ANNOTATOR: row.section_type}
                decided[set_id, i] = row.section_type
    if data and (data / SINGLE_PARAGRAPHS).is_file():
        for item in read_single_paragraphs(data / SINGLE_PARAGRAPHS):
            place = (item.paragraph_id, 0)
            articles[item.paragraph_id] = Article.from_texts([item.text], article_id=item.paragraph_id)
            labels[place] = dict(item.votes)
            if item.section_type is not None:
                decided[place] = item.section_type
                labels[place] = labels[place] or {SINGLE_ANNOTATOR: item.section_type}
    return Version(name, articles, dict(labels), decided)


def _who(annotation: Annotation) -> str:
    return f"adjudication by {annotation.annotator}" if is_settlement(annotation) else annotation.annotator


def _extract(revision: str, root: Path, path: str, work: Path) -> None:
    commit = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if commit is None:
        raise DataError(
            f"{revision!r} is neither a folder nor a git revision of {root}; name a folder, or a revision such as "
            "HEAD~1"
        )
    sha = commit.decode().strip()
    content = _git(root, "archive", "--format=tar", sha, "--", path)
    if content is None:
        raise DataError(f"git revision {revision!r} has no {path}/; name the corpus's folder with --path")
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        archive.extractall(work, filter="data")
    for pointer in sorted((work / path).rglob("*.dvc")):
        _fetch_from_dvc(pointer.relative_to(work).with_suffix("").as_posix(), sha, root, work)


def _git(root: Path, *arguments: str) -> bytes | None:
    """Run git; None where it says no."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, timeout=GIT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DataError(f"git cannot be asked ({error}); install git, or name folders") from error
    return done.stdout if done.returncode == 0 else None


def _fetch_from_dvc(name: str, revision: str, root: Path, work: Path) -> None:
    """Get what a ``.dvc`` file of a revision stands for."""
    command = [sys.executable, "-m", "dvc", "get", str(root), name, "--rev", revision, "-o", str(work / name), "-q"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise DataError(f"{name} of revision {revision[:12]} cannot be had from DVC ({reason}); run: dvc fetch -a")


# -- comparing -------------------------------------------------------------------------------------------------------


def _align(old: Sequence[str], new: Sequence[str]) -> list[tuple[int | None, int | None]]:
    """Pair paragraphs: equal ones in order, equal ones that moved, then edited ones; None stands for a missing one."""
    before, after = [text_digest(text) for text in old], [text_digest(text) for text in new]
    pairs: list[tuple[int | None, int | None]] = []
    gone: list[int] = []
    come: list[int] = []
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag == "equal":
            pairs += zip(range(i1, i2), range(j1, j2), strict=True)
        else:
            gone += range(i1, i2)
            come += range(j1, j2)
    for i, j in _alike([before[i] == after[j] for i in gone for j in come], gone, come, least=1.0):
        pairs.append((i, j))
    gone, come = _left(gone, come, pairs)
    for i, j in _alike([_similarity(old[i], new[j]) for i in gone for j in come], gone, come, least=LEAST_SIMILARITY):
        pairs.append((i, j))
    gone, come = _left(gone, come, pairs)
    pairs += [(i, None) for i in gone]
    pairs += [(None, j) for j in come]
    return sorted(pairs, key=lambda pair: (pair[1] if pair[1] is not None else pair[0] or 0, pair[1] is None))


def _alike(scores: Sequence[float], gone: Sequence[int], come: Sequence[int], *, least: float) -> list[tuple[int, int]]:
    """Pair the paragraphs that are most alike, best first, those nearest to each other first among equals."""
    places = [(i, j) for i in gone for j in come]
    order = sorted(range(len(places)), key=lambda k: (-scores[k], abs(places[k][0] - places[k][1]), k))
    found: list[tuple[int, int]] = []
    for k in order:
        i, j = places[k]
        if scores[k] >= least and all(i != a and j != b for a, b in found):
            found.append((i, j))
    return found


def _left(
    gone: Sequence[int], come: Sequence[int], pairs: Sequence[tuple[int | None, int | None]]
) -> tuple[list[int], list[int]]:
    paired_old, paired_new = {i for i, _ in pairs}, {j for _, j in pairs}
    return [i for i in gone if i not in paired_old], [j for j in come if j not in paired_new]


def _similarity(old: str, new: str) -> float:
    """Share of words that two texts have in common, in order."""
    matcher = SequenceMatcher(None, old.split(), new.split(), autojunk=False)
    return matcher.ratio() if matcher.quick_ratio() >= LEAST_SIMILARITY else 0.0


def _article_change(old: Article, new: Article, pairs: Sequence[tuple[int | None, int | None]]) -> ArticleChange | None:
    paragraphs = [
        ParagraphChange(i, j, _text(old, i), _text(new, j)) for i, j in pairs if _text(old, i) != _text(new, j)
    ]
    kept = [(i, j) for i, j in pairs if i is not None and j is not None]
    differs = {
        "title": old.title != new.title,
        "headings": any(old.paragraphs[i].headings != new.paragraphs[j].headings for i, j in kept),
        "metadata": dict(old.metadata) != dict(new.metadata),
        "order": [i for i, _ in kept] != sorted(i for i, _ in kept),
    }
    fields = [name for name, is_different in differs.items() if is_different]
    return ArticleChange(new.article_id, paragraphs, fields) if paragraphs or fields else None


def _text(article: Article, index: int | None) -> str | None:
    return None if index is None else article.paragraphs[index].text


def _label_changes(old: Version, new: Version, article_id: str, i: int | None, j: int | None) -> Iterator[LabelChange]:
    before = old.labels.get((article_id, i), {}) if i is not None else {}
    after = new.labels.get((article_id, j), {}) if j is not None else {}
    for who in sorted({*before, *after}):
        if before.get(who) != after.get(who):
            yield _change(old, new, article_id, (i, j), who, (before.get(who), after.get(who)))


def _decision_change(old: Version, new: Version, article_id: str, i: int | None, j: int | None) -> list[LabelChange]:
    before = old.decided.get((article_id, i)) if i is not None else None
    after = new.decided.get((article_id, j)) if j is not None else None
    return [] if before == after else [_change(old, new, article_id, (i, j), None, (before, after))]


def _change(
    old: Version,
    new: Version,
    article_id: str,
    pair: tuple[int | None, int | None],
    who: str | None,
    values: tuple[str | None, str | None],
) -> LabelChange:
    i, j = pair
    version, index = (new, j) if j is not None else (old, i or 0)
    return LabelChange(article_id, index, version.articles[article_id].paragraphs[index].text, who, *values)


def _counts(version: Version) -> dict[str, int]:
    return {
        "articles": len(version.articles),
        "paragraphs": sum(len(article.paragraphs) for article in version.articles.values()),
        "labels": sum(map(len, version.labels.values())),
    }
