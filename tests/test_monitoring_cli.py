"""`crosshead monitor`: files in, exit code, table, JSON, page and MLflow run out."""

from __future__ import annotations

import html
import json
import random
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import small_project
import tiny
from crosshead import bundle
from crosshead.cli import main
from crosshead.cli.exits import Exit
from crosshead.corpora.corpus import write_file
from crosshead.environment import DEFAULTS
from crosshead.errors import DataError
from crosshead.monitoring import reading
from crosshead.monitoring.checks import Draws
from crosshead.monitoring.job import Wanted, monitor
from crosshead.records import made_with
from crosshead.records.made_with import MadeWith

SENTENCES = [text for _, paragraphs in tiny.ARTICLES for text, _ in paragraphs]
SPORT = [
    "The keeper saved a late penalty and the home side kept its lead until the whistle.",
    "She served two aces in the last game and took the final set before a full stand.",
    "The relay team dropped the baton at the second bend and came home last.",
]
DRAWS = Draws(shares=999, fits=999)


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in DEFAULTS.items():
        monkeypatch.setenv(name, value)
    for name in ("NO_COLOR", "FORCE_COLOR", "MLFLOW_TRACKING_URI", "CROSSHEAD_ROOT", "CROSSHEAD_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, tiny_graph: Path) -> str:
    return str(tiny.build_bundle(tmp_path_factory.mktemp("bundle") / "tiny", tiny_graph))


def write_articles(folder: Path, n: int, texts: list[str], *, seed: int) -> Path:
    rng = random.Random(seed)
    folder.mkdir()
    for i in range(n):
        paragraphs = [" ".join(rng.sample(texts, 2)) for _ in range(rng.randrange(2, 5))]
        (folder / f"{folder.name}-{i:02}.md").write_text(f"# Article {i}\n\n" + "\n\n".join(paragraphs) + "\n")
    return folder


@pytest.fixture
def before(tmp_path: Path) -> Path:
    return write_articles(tmp_path / "before", 20, SENTENCES, seed=1)


@pytest.fixture
def now(tmp_path: Path) -> Path:
    return write_articles(tmp_path / "now", 16, SENTENCES, seed=2)


@pytest.fixture
def other(tmp_path: Path) -> Path:
    return write_articles(tmp_path / "other", 16, SPORT, seed=3)


def as_json(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_articles_of_the_same_kind_give_exit_code_0(
    before: Path, now: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["monitor", "--reference", str(before), "--current", str(now), "--model", model, "-f", "json"])
    told = as_json(capsys)
    assert code == Exit.OK
    assert told["verdict"] == "ok"
    assert told["model"]["digest"] == bundle.digest(Path(model))
    assert (told["reference"]["n_articles"], told["current"]["n_articles"]) == (20, 16)
    assert [check["verdict"] for check in told["checks"]] == ["ok"] * 9
    assert [entry["section_type"] for entry in told["section_types"]] == list(tiny.SECTION_TYPES)


def test_text_of_another_kind_gives_an_alarm_a_page_and_words(
    before: Path, other: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "drift.html"
    files = sorted(map(str, other.iterdir()))
    # As a shell hands over `--current other/*.md`: the first file goes to the option, the rest stands beside it.
    command = ["monitor", "--reference", str(before), "--current", *files, "--model", model, "-o", str(page)]
    assert main(command) == Exit.DRIFT == 7
    told = capsys.readouterr().out
    assert told.startswith("▲ the text has changed\n")
    assert "more of these words: " in told
    words = told.split("more of these words: ")[1].splitlines()[0].split(", ")
    assert set(words) & {"baton", "aces", "penalty", "keeper", "relay"}
    assert f"written: {page}" in told
    assert all(sentence not in told for sentence in SPORT)
    written = page.read_text(encoding="utf-8")
    assert any(sentence in written for sentence in SPORT)


def test_no_text_keeps_texts_and_words_out(
    before: Path, other: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "drift.html"
    command = ["monitor", "--reference", str(before), "--current", str(other), "--model", model, "-o", str(page)]
    assert main([*command, "--no-text"]) == Exit.DRIFT
    for told in (capsys.readouterr().out, page.read_text(encoding="utf-8")):
        assert all(sentence not in told for sentence in SPORT)
        assert "baton" not in told


# -- rows that were tagged before --------------------------------------------------------------------------------------


def tag_into(folder: Path, articles: Path, model: str, *options: str) -> Path:
    assert main(["tag", str(articles), "--model", model, "--output", f"{folder}/", *options]) == Exit.OK
    return folder


@pytest.mark.parametrize("shape", ["jsonl", "json", "csv", "parquet parts", "jsonl parts"])
def test_what_tag_wrote_is_read_back_as_it_is(
    before: Path, now: Path, model: str, tmp_path: Path, shape: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sides = []
    for articles in (before, now):
        if shape.endswith(" parts"):
            sides.append(tag_into(tmp_path / f"tagged-{articles.name}", articles, model, "--format", shape.split()[0]))
        else:
            target = tmp_path / f"tagged-{articles.name}.{shape}"
            assert main(["tag", str(articles), "--model", model, "--output", str(target)]) == Exit.OK
            sides.append(target)
    capsys.readouterr()
    wanted = {"model": model, "draws": DRAWS}
    tagged_before = monitor(Wanted((str(sides[1]),), (str(sides[0]),), **wanted))  # type: ignore[arg-type]
    tagged_now = monitor(Wanted((str(now),), (str(before),), **wanted))  # type: ignore[arg-type]
    for old, new in zip(tagged_before.checks, tagged_now.checks, strict=True):
        assert (old.name, old.verdict) == (new.name, new.verdict)
        assert old.current == new.current or np.isclose(old.current.value, new.current.value, atol=1e-5)  # type: ignore[union-attr]
        assert np.isclose(old.p_value, new.p_value, atol=0.01)  # type: ignore[arg-type]
    assert tagged_before.current.n_articles == 16
    unnamed = [note for note in tagged_before.notes if "do not say which model" in note]
    assert bool(unnamed) == (not shape.endswith(" parts"))


def test_rows_without_text_leave_out_what_needs_text_and_need_no_model(
    before: Path, now: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sides = [tag_into(tmp_path / f"t-{a.name}", a, model, "--no-text") for a in (before, now)]
    capsys.readouterr()
    assert main(["monitor", "--reference", str(sides[0]), "--current", str(sides[1])]) == Exit.OK
    told = capsys.readouterr().out
    assert "not compared: Embedding: the reference has rows without text, or a model without an encoder" in told
    assert "note: The current holds no text: what needs texts is left out." in told
    assert "Confidence" in told


def test_a_feed_is_tagged_line_by_line_and_bad_lines_are_counted(
    before: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    feed = tmp_path / "feed.jsonl"
    lines = [json.dumps({"id": i, "text": text}) for i, text in enumerate(SENTENCES * 3)]
    feed.write_text("\n".join([*lines, "nonsense", '{"text": ""}']) + "\n")
    main(["monitor", "--reference", str(before), "--current", str(feed), "--model", model, "-f", "json"])
    told = as_json(capsys)
    assert told["current"]["n_articles"] == told["current"]["n_paragraphs"] == len(lines)
    assert told["current"]["n_failed"] == 2
    assert "2 inputs of the current could not be read or tagged; they are not compared." in told["notes"]


def test_of_many_articles_some_are_drawn(
    before: Path, now: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["monitor", "--reference", str(before), "--current", str(now), "--model", model, "-f", "json"]
    main([*command, "--max-articles", "10"])
    told = as_json(capsys)
    assert (told["current"]["n_articles"], told["current"]["n_articles_seen"]) == (10, 16)
    assert "Of 16 articles of the current, 10 were drawn; --max-articles takes more." in told["notes"]


# -- what does not fit -------------------------------------------------------------------------------------------------


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


ROW = {"article_id": "a", "section_type": "other", "confidence": 0.9}
SCORES = {"ground_developments": 0.1, "other": 0.9}


def rows_of_job(folder: Path, **manifest: Any) -> Path:
    (folder / "parts").mkdir(parents=True)
    content = {"model": {"digest": "f" * 64}, "finished": {"parts": 1}, **manifest}
    (folder / "manifest.json").write_text(json.dumps(content))
    write_rows(folder / "parts" / "part-000000.jsonl", [{**ROW, "article_id": str(i)} for i in range(8)])
    return folder


BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "nothing there": (lambda folder: folder / "gone.jsonl", "the current cannot be read: .*there is no such file"),
    "empty": (lambda folder: write_rows(folder / "e.jsonl", []), "holds no paragraph"),
    "only bad lines": (lambda folder: write_rows(folder / "b.jsonl", [{"id": 1}]), "1 input could not be read, the f"),
    "another taxonomy": (
        lambda folder: write_rows(folder / "t.jsonl", [{**ROW, "section_type": "sport"}]),
        "tagged with the section type 'sport', but the other's taxonomy has ground_developments",
    ),
    "no number": (
        lambda folder: write_rows(folder / "n.jsonl", [{**ROW, "confidence": "very"}]),
        "line 1: a tagged row holds what `crosshead tag` does not write",
    ),
    "another model": (lambda folder: rows_of_job(folder / "job"), "tagged by different models: the reference by "),
    "unfinished": (lambda folder: rows_of_job(folder / "job", finished=None), "has not finished; let it, or go on"),
    "damaged": (lambda folder: rows_of_job(folder / "job", model=None), "manifest.json of the current 'job' is dam"),
    "standard input": (lambda folder: Path("-"), "is '-', standard input; name files"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_what_cannot_be_compared_is_refused(
    before: Path, model: str, tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make, message = BAD[what]
    current = str(make(tmp_path))
    with pytest.raises(DataError, match=message):
        monitor(Wanted((current,), (str(before),), model))
    assert main(["monitor", "--reference", str(before), "--current", current, "--model", model]) == Exit.DATA
    assert "Traceback" not in capsys.readouterr().err


def test_two_kinds_on_one_side_are_refused(before: Path, model: str, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", [ROW])
    with pytest.raises(DataError, match="mixes rows that were tagged before with articles that were not"):
        reading.read([str(before), str(rows)], "current", max_articles=100, seed=0)


def test_a_file_of_rows_that_breaks_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"section_type": ["other"], "confidence": [0.5]}), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] + whole[-8:])
    with pytest.raises(DataError, match=r"1 input could not be read, the first: .*rows\.parquet: it is not a whole"):
        reading.read([str(path)], "current", max_articles=100, seed=0)


def test_rows_of_one_article_are_one_article(tmp_path: Path) -> None:
    table = pa.table(
        {
            "article_id": ["a", "a", None, "b", "a"],
            "section_type": ["other"] * 5,
            "confidence": [0.9, 0.8, 0.7, 0.6, 0.5],
            "score_other": [0.9, 0.8, 0.7, 0.6, 0.5],
            "abstained": [False] * 5,
            "truncated_tokens": [0, 3, 0, 0, 0],
        }
    )
    pq.write_table(table, tmp_path / "rows.parquet")
    side = reading.read([str(tmp_path / "rows.parquet")], "current", max_articles=100, seed=0)
    assert [[p.confidence for p in article.paragraphs] for article in side.articles] == [
        [0.9, 0.8],
        [0.7],
        [0.6],
        [0.5],
    ]
    first = side.articles[0].paragraphs
    assert (first[0].scores, first[0].text, first[1].truncated_tokens) == ({"other": 0.9}, None, 3)


def test_without_project_and_reference_nothing_can_be_said(now: Path, model: str) -> None:
    with pytest.raises(DataError, match="there is no reference: this is no crosshead project"):
        monitor(Wanted((str(now),), model=model))


def test_too_few_articles_are_no_good_news(
    before: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = write_articles(tmp_path / "few", 4, SENTENCES, seed=5)
    assert main(["monitor", "--reference", str(before), "--current", str(few), "--model", model]) == Exit.DATA
    out, err = capsys.readouterr()
    assert "the current has 4 articles; at least 5 articles are needed on each side" in " ".join(out.split())
    assert out.count("not compared") == 1
    assert "nothing could be compared, so nothing can be said" in err


def test_nothing_to_look_at_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["monitor"]) == Exit.USAGE
    assert "nothing to look at: name files, --current FILE" in capsys.readouterr().err


def test_no_model_is_needed_for_rows_but_its_lack_is_said(tmp_path: Path) -> None:
    rows = [{**ROW, "article_id": str(i), "text": SENTENCES[i % 12], "scores": SCORES} for i in range(8)]
    path = str(write_rows(tmp_path / "rows.jsonl", rows))
    drift = monitor(Wanted((path,), (path,), draws=DRAWS))
    assert any("Embeddings and unknown words are left out: no saved tagger to use" in note for note in drift.notes)
    assert {check.name for check in drift.checks if check.left_out} == {
        "embedding", "unknown_words", "abstention", "truncation",
    }  # fmt: skip


# -- in a project ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_project_knows_what_its_champion_was_trained_on_and_keeps_a_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = small_project.with_two_runs(tmp_path / "project")
    monkeypatch.chdir(root)
    articles = write_articles(tmp_path / "sport", 12, SPORT, seed=1)
    page = tmp_path / "drift.html"
    assert main(["monitor", "--current", str(articles), "--log", "-o", str(page), "-f", "json"]) == Exit.DRIFT
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert told["reference"]["name"] == "what the model was trained on"
    assert 0 < told["reference"]["n_learnt"] < told["reference"]["n_paragraphs"]
    left_out = {check["name"] for check in told["checks"] if "left_out" in check}
    assert left_out == {"embedding"}, "the small project's taggers look at words alone"
    assert "recorded in MLflow as run" in err
    _check_record(root, told)
    command = shlex.join(["crosshead", "run", *small_project.WORDS, *small_project.POOR])
    assert told["model"]["trained_with"] == command
    assert f"train again ({command})" in html.unescape(page.read_text(encoding="utf-8"))

    learnt = sorted((root / "data" / "articles").iterdir())
    main(["monitor", "--current", str(root / "data" / "articles"), "--reference", *map(str, learnt), "-f", "json"])
    told = as_json(capsys)
    assert told["current"]["n_learnt"] > 0
    assert any("are among those that the model was trained on" in note for note in told["notes"])

    summary = root / "data" / "prepared" / "corpus.json"
    summary.write_text(summary.read_text().replace('"digest": "', '"digest": "0'))
    with pytest.raises(DataError, match="paragraph table is not the one that this model was trained on") as error:
        monitor(Wanted((str(articles),)))
    assert f"prepare that corpus again: {command.replace(' run ', ' prepare ')} (as it was then" in str(error.value)
    for path in (root / "models" / "scores").glob("*.made.json"):
        path.write_text("{}")
    with pytest.raises(DataError, match=r"prepare that corpus again: crosshead prepare, with .* not recorded in this"):
        monitor(Wanted((str(articles),)))


def test_how_a_model_was_made_is_told_where_it_is_known(tmp_path: Path) -> None:
    digest = "0" * 64
    for root, name in ((None, digest), (tmp_path, "no digest"), (tmp_path, digest)):
        assert made_with.read(root, name) is None
    for made, prepare, command in (
        (MadeWith(("seed=3",), ("seed=3",)), "crosshead prepare seed=3", "crosshead run seed=3"),
        (MadeWith((), ()), "crosshead prepare", "crosshead run"),
        (
            MadeWith(("corpus.articles=[a b.md]",), ("folds=3",)),
            "crosshead prepare 'corpus.articles=[a b.md]'",
            "crosshead prepare 'corpus.articles=[a b.md]' && crosshead train folds=3 && crosshead evaluate folds=3",
        ),
        (MadeWith(None, ("folds=3",)), None, None),
    ):
        write_file(made_with.path(tmp_path, digest), made_with.content(made))
        assert made_with.read(tmp_path, digest) == made
        assert (made.prepare_command(), made.command()) == (prepare, command)
    for damaged in ("", "[]", '{"prepare": 3, "train": []}', '{"prepare": [], "train": [3]}'):
        made_with.path(tmp_path, digest).write_text(damaged)
        assert made_with.read(tmp_path, digest) is None


def _check_record(root: Path, told: dict[str, Any]) -> None:
    from crosshead.records.tracking import Tracking
    from crosshead.settings import load_settings

    settings = load_settings([], root)
    tracking = Tracking.at(root, f"{settings.tracking.experiment}-monitor", settings.tracking.uri)
    [run] = tracking.client.search_runs([tracking.experiment_id])
    assert run.data.metrics["alarms"] == sum(check["verdict"] == "alarm" for check in told["checks"])
    assert run.data.metrics["length_p"] == pytest.approx(
        next(check["adjusted"] for check in told["checks"] if check["name"] == "length")
    )
    assert [file.path for file in tracking.client.list_artifacts(run.info.run_id)] == ["drift.html"]
