"""What changed between two versions of a corpus, whichever way they are kept."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosshead.articles import Article
from crosshead.corpora.annotations import Annotation, count_votes
from crosshead.corpora.data_diff import (
    ArticleChange,
    DataDiff,
    LabelChange,
    ParagraphChange,
    Version,
    diff,
    read_version,
)
from crosshead.errors import ArticleError, DataError
from crosshead.labelling.votes import Vote, take_into
from labelling_parts import ARTICLES, vote, write_articles

FORD, BRIDGE, DRAFT = ARTICLES


def version(articles: Iterable[Article], annotations: Iterable[Annotation] = (), name: str = "v") -> Version:
    annotations = list(annotations)
    labels: dict[tuple[str, int], dict[str, str]] = {}
    for given_label in annotations:
        labels.setdefault((given_label.article_id, given_label.paragraph), {})[given_label.annotator] = (
            given_label.section_type
        )
    return Version(name, {a.article_id: a for a in articles}, labels, count_votes(annotations).section_types)


def edited(article: Article, *texts: str, **fields: object) -> Article:
    headings = fields.pop("headings", None)
    return Article.from_texts(
        texts, article_id=article.article_id, headings=headings, **{"title": article.title, **fields}
    )  # type: ignore[arg-type]


def test_a_version_does_not_differ_from_itself() -> None:
    same = version(ARTICLES, [vote("ford", 0, "talks", "anna")])
    found = diff(same, same)
    assert not found
    assert found.counts == {"articles": (3, 3), "paragraphs": (7, 7), "labels": (1, 1)}


def test_articles_added_and_removed() -> None:
    found = diff(version([FORD, BRIDGE], [vote("ford", 0, "talks", "anna")]), version([BRIDGE, DRAFT]))
    assert (found.added, found.removed, found.changed, found.labels) == ({"draft": 2}, {"ford": 3}, [], [])
    assert found.counts["labels"] == (1, 0)


def test_a_label_changes_with_both_its_values() -> None:
    old = [vote("ford", 0, "talks", "anna"), vote("ford", 1, "talks", "anna"), vote("ford", 2, "rest", "ben")]
    new = [vote("ford", 0, "rest", "anna"), vote("ford", 1, "talks", "anna"), vote("ford", 1, "rest", "ben")]
    found = diff(version(ARTICLES, old), version(ARTICLES, new))
    texts = FORD.texts
    assert found.labels == [
        LabelChange("ford", 0, texts[0], "anna", "talks", "rest"),
        LabelChange("ford", 1, texts[1], "ben", None, "rest"),
        LabelChange("ford", 2, texts[2], "ben", "rest", None),
    ]
    assert found.decisions == [
        LabelChange("ford", 0, texts[0], None, "talks", "rest"),
        LabelChange("ford", 1, texts[1], None, "talks", None),
        LabelChange("ford", 2, texts[2], None, "rest", None),
    ]
    assert found.changed == []


def test_a_label_follows_its_paragraph() -> None:
    new = edited(FORD, "A new lead.", *FORD.texts, headings=[(), *(p.headings for p in FORD.paragraphs)])
    moved = Annotation("ford", 2, "x", "talks", "anna")
    found = diff(version([FORD], [vote("ford", 1, "talks", "anna")]), version([new], [moved]))
    assert (found.labels, found.decisions) == ([], [])
    assert found.changed == [ArticleChange("ford", [ParagraphChange(None, 0, None, "A new lead.")], [])]


def test_paragraphs_edited_moved_and_removed() -> None:
    texts = FORD.texts
    new = edited(FORD, texts[2], "Envoys met by the sea.", headings=[(), ()])
    found = diff(version([FORD]), version([new]))
    (change,) = found.changed
    assert change == ArticleChange(
        "ford",
        [ParagraphChange(0, None, texts[0], None), ParagraphChange(1, 1, texts[1], "Envoys met by the sea.")],
        ["headings", "order"],
    )
    swapped = diff(version([BRIDGE]), version([edited(BRIDGE, *BRIDGE.texts[::-1])]))
    assert swapped.changed == [ArticleChange("bridge", [], ["order"])]


def test_what_else_changed_in_an_article() -> None:
    title = edited(BRIDGE, *BRIDGE.texts, title="The bridge")
    assert diff(version([BRIDGE]), version([title])).changed == [ArticleChange("bridge", [], ["title"])]
    headings = edited(BRIDGE, *BRIDGE.texts, headings=[(), ("Clocks",)], metadata={"genre": "feature"})
    assert diff(version([BRIDGE]), version([headings])).changed == [
        ArticleChange("bridge", [], ["headings", "metadata"])
    ]


texts = st.lists(st.sampled_from(["One.", "Two.", "Three.", "Four."]), min_size=1, max_size=6)


@given(texts, texts)
def test_every_paragraph_is_accounted_for_once(old: list[str], new: list[str]) -> None:
    before, after = Article.from_texts(old, article_id="a"), Article.from_texts(new, article_id="a")
    labels = [Annotation("a", i, "", text, "anna") for i, text in enumerate(old)]
    found = diff(
        version([before], labels), version([after], [Annotation("a", i, "", t, "anna") for i, t in enumerate(new)])
    )
    assert bool(found) is (old != new)
    changes = [paragraph for change in found.changed for paragraph in change.paragraphs]
    gone = sorted(c.old_text for c in changes if c.old_text is not None)
    come = sorted(c.new_text for c in changes if c.new_text is not None)
    kept_old, kept_new = sorted(old), sorted(new)
    for text in gone:
        kept_old.remove(text)
    for text in come:
        kept_new.remove(text)
    assert kept_old == kept_new
    assert {(c.old, c.new) for c in found.labels} == {(c.old_text, c.new_text) for c in changes}, "labels say the text"


# -- where versions are kept -------------------------------------------------------------------------------------------


def write_corpus(data: Path, articles: Iterable[Article], *annotations: Annotation) -> Path:
    write_articles(data / "articles", articles)
    (data / "annotations.csv").unlink(missing_ok=True)
    take_into(data / "annotations.csv", [Vote(given, f"row {i}") for i, given in enumerate(annotations)])
    return data


def test_folders_of_three_kinds(tmp_path: Path) -> None:
    data = write_corpus(tmp_path / "data", ARTICLES, vote("ford", 0, "talks", "anna"))
    rows = [{"set_id": "set", "paragraph": i, "text": f"Text {i}.", "section_type": "rest"} for i in (2, 1)]
    (data / "contrast_sets.jsonl").write_text("\n".join(map(json.dumps, rows)))
    project = read_version(str(tmp_path), tmp_path)
    folder = read_version(str(data), tmp_path)
    plain = read_version(str(data / "articles"), tmp_path)
    assert not diff(project, folder)
    assert project.articles["set"].texts == ("Text 1.", "Text 2.")
    assert project.decided["set", 1] == "rest"
    assert diff(project, plain).removed == {"set": 2}
    assert diff(project, plain).counts["labels"] == (3, 0)


def test_a_single_paragraph_counts_as_an_article(tmp_path: Path) -> None:
    data = write_corpus(tmp_path / "data", ARTICLES)
    one = {"paragraph_id": "s1", "text": "Told once.", "section_type": "rest"}
    two = {"paragraph_id": "s2", "text": "Told twice.", "section_type": None, "votes": {"anna": "rest", "ben": "war"}}
    file = data / "single_paragraphs.jsonl"
    file.write_text("\n".join(map(json.dumps, (one, two))))
    old = read_version(str(data), tmp_path)
    file.write_text("\n".join(map(json.dumps, ({**one, "section_type": "war"}, {**two, "section_type": "rest"}))))
    new = read_version(str(data), tmp_path)
    found = diff(old, new)
    assert [(c.article_id, c.annotator, c.old, c.new) for c in found.labels] == [
        ("s1", "single paragraph", "rest", "war")
    ]
    assert [(c.article_id, c.old, c.new) for c in found.decisions] == [("s1", "rest", "war"), ("s2", None, "rest")]
    assert diff(old, read_version(str(data / "articles"), tmp_path)).removed == {"s1": 1, "s2": 1}
    assert old.labels["s2", 0] == {"anna": "rest", "ben": "war"}


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    write_corpus(folder / "data", [FORD, BRIDGE], vote("ford", 0, "talks", "anna"))
    git(folder, "init")
    git(folder, "add", ".")
    git(folder, "commit", "-m", "one")
    git(folder, "tag", "v1")
    return folder


def test_git_revisions(repository: Path) -> None:
    write_corpus(
        repository / "data",
        [FORD, BRIDGE, DRAFT],
        vote("ford", 0, "talks", "anna"),
        vote("ford", 0, "rest", "clara", source="adjudication"),
    )
    found = diff(read_version("HEAD", repository), read_version(str(repository), repository))
    assert (found.old, found.added) == ("HEAD", {"draft": 2})
    assert found.labels == [LabelChange("ford", 0, FORD.texts[0], "adjudication by clara", None, "rest")]
    assert found.decisions == [LabelChange("ford", 0, FORD.texts[0], None, "talks", "rest")]
    git(repository, "add", ".")
    git(repository, "commit", "-m", "two")
    again = diff(read_version("v1", repository), read_version("HEAD", repository))
    assert DataDiff(**{**vars(again), "old": found.old, "new": found.new}) == found
    assert not diff(read_version("HEAD", repository), read_version(str(repository), repository))


@pytest.mark.slow
def test_what_dvc_keeps_of_a_revision(repository: Path) -> None:
    def dvc(*arguments: str) -> None:
        subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=repository, check=True, capture_output=True)

    git(repository, "rm", "-r", "--cached", "data/articles")
    dvc("init", "-q")
    dvc("add", "-q", "data/articles")
    git(repository, "add", ".")
    git(repository, "commit", "-m", "articles go to DVC")
    write_articles(repository / "data" / "articles", [DRAFT])
    found = diff(read_version("HEAD", repository), read_version(str(repository), repository))
    assert (found.added, found.removed, found.changed) == ({"draft": 2}, {}, [])
    subprocess.run(["rm", "-r", str(repository / ".dvc" / "cache")], check=True)
    with pytest.raises(
        DataError, match=r"data/articles of revision .* cannot be had from DVC \(.*\); run: dvc fetch -a"
    ):
        read_version("HEAD", repository)


def test_what_is_no_version_is_said(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("v9", "--help", "HEAD:data"):
        with pytest.raises(DataError, match=f"'{name}' is neither a folder nor a git revision"):
            read_version(name, repository)
    with pytest.raises(DataError, match="git revision 'v1' has no corpus/; name the corpus's folder with --path"):
        read_version("v1", repository, path="corpus")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArticleError, match="the folder holds no file that can be read"):
        read_version(str(tmp_path / "empty"), tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match=r"git cannot be asked .*; install git, or name folders"):
        read_version("v1", repository)
