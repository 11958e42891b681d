from __future__ import annotations

import itertools
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosshead.errors import DataError
from crosshead.evaluation import (
    LENGTH_BUCKETS,
    Example,
    Finding,
    Interval,
    check_scores,
    conformal_quantile,
    confusion,
    errors,
    evaluate,
    examples_right,
    label_sets,
    length_buckets,
    mcnemar,
    paired_bootstrap,
    reliability,
    risk_coverage,
    set_coverage,
    slices,
)
from crosshead.reporting.plots import LearningPoint, plot_learning_curve
from crosshead.reporting.report import (
    ReportData,
    Section,
    Table,
    by_confusion,
    chapters,
    render_report,
    write_report,
)
from crosshead.reporting.report_text import clip, interval_html, percent, summarise, whole

TYPES = ("ground_developments", "regional_stability", "international_role", "other")
SENTENCES = (
    "Engineers laid a pontoon across the canal at night, and by morning two companies held the far bank.",
    "Lorries wait nine days at the crossing now, and the price of onions in the border towns has doubled.",
    "The ambassador read out a list of names and asked that the observers be let back in before the vote.",
    "In the photograph the square is empty except for a man who sells lottery tickets.",
)


class Page(HTMLParser):
    """What a reader or a screen reader finds in the page."""

    void = frozenset({"meta", "br", "img", "link", "input", "hr", "path", "use"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.headings: list[str] = []
        self.text: list[str] = []
        self.unclosed: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(tag)
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag in self.void:
            return
        if not self.open or self.open[-1] != tag:
            self.unclosed.append(f"{tag} in {self.open[-3:]}")
        else:
            self.open.pop()

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.text.append(data)

    def attributes(self, name: str) -> list[str]:
        return [attrs[name] or "" for _, attrs in self.tags if name in attrs]

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.text))


@pytest.fixture(scope="module")
def data() -> ReportData:
    rng = np.random.default_rng(3)
    n, article = 240, np.arange(240) // 8
    codes = rng.integers(0, 4, n)
    logits = rng.normal(0, 1, (n, 4))
    logits[np.arange(n), codes] += 2
    proba = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    weak = np.exp(0.3 * logits + rng.normal(0, 1, (n, 4)))
    weak /= weak.sum(axis=1, keepdims=True)
    flat = np.tile(np.bincount(codes, minlength=4) / n, (n, 1))
    models = {"blend": proba, "tfidf": weak, "majority": flat}
    texts = [f"{SENTENCES[code]} Report {i}." for i, code in enumerate(codes)]
    ids = [f"canal-{a}#{i}" for i, a in enumerate(article)]
    told = (ids, texts, [("The canal", "Night")] * n, codes, proba, TYPES)
    quantile = conformal_quantile(codes[::2], proba[::2], 0.1)
    curve = [LearningPoint(20, Interval(0.6, 0.5, 0.7)), LearningPoint(80, Interval(0.7, 0.65, 0.75))]
    return ReportData(
        title="Blend, autumn corpus",
        model="blend",
        created="22 November 2026",
        scores={
            name: evaluate(codes, p, article, TYPES, abstained=p.max(axis=1) < 0.6, n_resamples=200)
            for name, p in models.items()
        },
        about={"blend": "vectors and words together"},
        descriptions={"other": "anything else"},
        findings=[Finding("CH001", "warning", "Only 30 articles were scored."), Finding("CH101", "note", "A note.")],
        comparisons={name: paired_bootstrap(codes, models[name], proba, article) for name in ("tfidf", "majority")},
        mcnemar={"tfidf": mcnemar(codes, weak.argmax(axis=1), proba.argmax(axis=1))},
        confusion=confusion(codes, proba.argmax(axis=1), TYPES),
        reliability=reliability(codes, proba, article),
        risk_coverage=risk_coverage(codes, proba, article),
        threshold=0.6,
        risk=0.1,
        label_sets=set_coverage(codes, label_sets(proba, quantile), article),
        alpha=0.1,
        slices={
            "genre": slices(codes, proba, article, TYPES, np.where(article < 28, "wire_report", "op_ed")),
            "length": slices(codes, proba, article, TYPES, length_buckets(texts), order=LENGTH_BUCKETS),
        },
        learning_curve={"blend": curve},
        set_accuracy={"blend": Interval(0.71, 0.6, 0.8), "majority": Interval(0.0)},
        n_truncated=3,
        duplicates=["canal-1 and canal-9 share two paragraphs"],
        leaks=[],
        headings=Section(
            "What the headings say", ("Half of them map.",), (Table("Unmapped", ("Heading",), (("Night",),)),)
        ),
        telling_words={"ground_developments": ["pontoon", "companies"]},
        right=examples_right(*told),
        errors=errors(*told),
        extra=[Section("Search history", plots=(plot_learning_curve({"blend": curve}, format="png"),))],
        facts={"Corpus": "sha256 53aa51172d14"},
        config="encoder: minilm\n",
    )


@pytest.fixture(scope="module")
def html(data) -> str:
    return render_report(data)


@pytest.fixture(scope="module")
def page(html) -> Page:
    return Page(html)


def test_the_report_has_every_part_in_order_and_a_link_to_each(data, page):
    names = list(chapters(data))
    assert names == [
        "summary", "findings", "scores", "classes", "confusion", "confidence", "unsure", "slices", "learning",
        "checks", "headings", "words", "extra-0", "right", "errors", "reading", "facts",
    ]  # fmt: skip
    assert [attrs["id"] for tag, attrs in page.tags if tag == "section"] == names
    assert [href for href in page.attributes("href") if href.startswith("#")][: len(names)] == [f"#{n}" for n in names]


def test_a_report_of_scores_alone_has_the_parts_that_can_be_shown(data):
    small = ReportData(title="Only scores", model="blend", scores={"blend": data.own})
    page = Page(render_report(small))
    assert list(chapters(small)) == ["summary", "scores", "classes", "reading"]
    assert [attrs["id"] for tag, attrs in page.tags if tag == "section"] == list(chapters(small))
    assert page.unclosed == []


def test_the_page_loads_nothing_from_elsewhere_and_runs_no_script(html, page):
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "link", "iframe", "object", "embed", "base", "form"}
    linked = page.attributes("href") + page.attributes("xlink:href") + page.attributes("src")
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in linked)
    styles = html[html.index("<style>") : html.index("</style>")] + "".join(page.attributes("style"))
    assert "url(" not in styles.replace("url(#", "")
    assert "@import" not in styles
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    outside = set(re.findall(r"https?://[^\"'<> ]+", html))
    assert outside <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}  # names, not addresses
    policy = next(attrs["content"] for _, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")


def test_the_page_is_well_formed_and_each_id_is_used_once(page):
    assert page.unclosed == []
    assert page.open == []
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))
    targets = [link[1:] for link in page.attributes("href") + page.attributes("xlink:href") if link.startswith("#")]
    clips = re.findall(r"url\(#([^)]+)\)", " ".join(page.attributes("clip-path")))
    assert clips
    assert set(targets + clips) <= set(ids)


def test_a_screen_reader_finds_its_way(page):
    levels = [int(tag[1]) for tag in page.headings]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert next(attrs for tag, attrs in page.tags if tag == "html")["lang"] == "en"
    tags = [tag for tag, _ in page.tags]
    assert tags.count("table") == tags.count("caption") > 8
    assert all(attrs.get("scope") in ("col", "row") for tag, attrs in page.tags if tag == "th")
    images = [attrs for tag, attrs in page.tags if tag == "svg"]
    assert len(images) == 5
    assert all(attrs["role"] == "img" and len(attrs["aria-label"]) > 40 for attrs in images)
    assert all(len(attrs["alt"]) > 40 for tag, attrs in page.tags if tag == "img")


def test_light_dark_and_print_are_provided_for(html):
    assert "@media screen and (prefers-color-scheme: dark)" in html
    assert "@media print" in html
    drawn = "".join(re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL))
    colours = set(re.findall(r"#[0-9a-f]{6}\b", drawn))
    assert colours == set()  # every colour of a plot follows the theme
    used, defined = set(re.findall(r"var\(--([\w-]+)\)", html)), set(re.findall(r"--([\w-]+):", html))
    assert used <= defined


def test_the_summary_is_in_plain_words(data):
    first, second, third = summarise(data)
    right = round(100 * data.own.accuracy.value)
    assert first.startswith("On 240 paragraphs of 30 articles that it had not learnt from, blend chose")
    assert f"the right section type for {right} of every 100" in first
    assert "“majority”, which always answers the most frequent section type, is right for" in first
    assert "(the difference is clear)" in first
    assert "It is best at “" in second
    assert "71 % of the contrast sets" in second
    assert "points off on average" in third
    assert "it answers" in third


def test_the_summary_admits_chance_silence_and_missing_parts(data):
    no_clear = paired_bootstrap([0, 1] * 5, [[0.9, 0.1]] * 10, [[0.9, 0.1]] * 10, range(10))
    first = summarise(replace(data, comparisons={"tfidf": no_clear}))[0]
    assert "the difference may be chance" in first
    silent = replace(data.own, coverage=Interval(0.0), risk=None)
    assert "not sure enough to answer any" in summarise(replace(data, scores={"blend": silent}))[-1]
    bare = replace(data.own, coverage=None, risk=None, accuracy=Interval(0.8), classes=data.own.classes[:1])
    small = ReportData(title="t", model="m", scores={"m": bare})
    (only,) = summarise(small)
    assert only.endswith("m chose the right section type for 80 of every 100.")


def test_a_report_on_one_article_says_what_can_be_said(data):
    scores = evaluate([0, 1], [[0.9, 0.1], [0.2, 0.8]], ["a", "a"], ["war", "peace"])
    tiny = ReportData(title="t", model="model", made_of="small one · words", scores={"model": scores})
    (first, second) = summarise(tiny)
    assert first == (
        "On 2 paragraphs of 1 article that it had not learnt from, the model chose the right section type for 100 of "
        "every 100."
    )
    assert second == "It is equally good at all 2 section types that were scored."
    html = render_report(tiny)
    assert "Model: small one · words" in html
    assert "2 paragraphs of 1 article, none" in html
    (few,) = (f.message for f in check_scores("model", {"model": scores}) if f.code == "CH001")
    assert few == "Only 1 article was scored; below 30 the scores are mostly luck."


def test_texts_of_the_report_flow():
    assert clip("Shells fell\nat dawn.") == "Shells fell at dawn."
    assert clip("The river sings,  \nthe guns\nreply.") == "The river sings,  \nthe guns reply."


def test_counts_have_a_true_minus():
    assert (whole(-9), whole(0), whole(1200)) == ("−9", "+0", "+1,200")


def test_model_and_baselines_stand_in_one_table_with_intervals(data, page, html):
    for name, scores in data.scores.items():
        assert f"{name}" in page.words
        assert f"<b>{scores.macro_f1.value:.3f}</b>" in html
        assert f"{scores.macro_f1.low:.3f}–{scores.macro_f1.high:.3f}" in html
    assert "counts words and pairs of words" in page.words
    assert "vectors and words together" in page.words


def test_every_error_is_listed_with_text_heading_and_second_choice(data, page):
    for example in data.errors:
        assert page.words.count(re.sub(r"\s+", " ", example.text)) >= 1
        assert example.paragraph_id in page.words
    assert "Under “The canal › Night”" in page.words
    assert "second choice" in page.words
    assert "more, about which" not in page.words
    assert "3 of 240 scored paragraphs" in page.words
    assert "canal-1 and canal-9 share two paragraphs" in page.words
    assert "None found: no article, and no near-duplicate of one, is on both sides." in page.words


HOSTILE = '<img src=x onerror=alert(1)></blockquote><script>alert("1")</script>{{ 7*7 }} & \u202e\x00 \ud800'


def test_hostile_texts_are_shown_and_not_obeyed(data, tmp_path):
    example = Example("<b>id", HOSTILE, (HOSTILE,), TYPES[0], TYPES[1], TYPES[2], 0.9, 0.1)
    hostile = replace(
        data, title=HOSTILE, errors=[example], right=[example], config=HOSTILE, facts={HOSTILE: HOSTILE},
        duplicates=[HOSTILE], leaks=[HOSTILE], telling_words={TYPES[0]: [HOSTILE]},
        findings=[Finding(HOSTILE, "warning", HOSTILE)], slices={HOSTILE: data.slices["genre"]},
        headings=Section(HOSTILE, (HOSTILE,), (Table(HOSTILE, (HOSTILE,), ((HOSTILE,),), HOSTILE),)),
        model=HOSTILE, scores={HOSTILE: data.own, "</svg><script>": data.own},
    )  # fmt: skip
    page = Page(write_report(tmp_path / "report.html", hostile).read_text("utf-8"))
    assert not {"script", "b id"} & {tag for tag, _ in page.tags}
    assert not [attrs for _, attrs in page.tags if "onerror" in attrs]
    assert page.unclosed == []
    assert 'alert("1")' in page.words
    assert "{{ 7*7 }}" in page.words


@settings(deadline=None, max_examples=15)
@given(st.text(max_size=200))
def test_any_text_leaves_the_page_whole(text):
    scores = evaluate([0, 1], [[0.9, 0.1], [0.3, 0.7]], [1, 2], ["a", "b"], n_resamples=0)
    example = Example("p", text, (text,), "a", "b", "a", 0.9, 0.1)
    made = ReportData(title=text, model="m", scores={"m": scores}, errors=[example], config=text)
    page = Page(render_report(made, plots={}))
    assert page.unclosed == []
    assert page.open == []
    assert "script" not in {tag for tag, _ in page.tags}


def test_a_report_stays_small_and_says_what_it_leaves_out(data, tmp_path):
    text = "“Ёлки & палки” <b>" * 400
    many = [Example(f"long#{i}", text, (), TYPES[i % 3], TYPES[3], TYPES[0], 0.9, 0.1) for i in range(4000)]
    path = write_report(tmp_path / "report.html", replace(data, errors=many))
    assert path.stat().st_size < 3_000_000
    words = Page(path.read_text("utf-8")).words
    left_out = int(re.search(r"([\d,]+) more, about which the model was less sure", words)[1].replace(",", ""))
    shown = sum(int(n) for n in re.findall(r"taken for [A-Z][a-z ]+ \((\d+)\)", words))
    assert shown + left_out == 4000
    assert "4,000 of 240 paragraphs" in words
    assert "characters in all]" in words


def test_errors_are_grouped_by_what_was_taken_for_what(data):
    groups = by_confusion(data.errors)
    assert sum(len(rows) for _, _, rows in groups) == len(data.errors)
    assert [len(rows) for _, _, rows in groups] == sorted((len(rows) for _, _, rows in groups), reverse=True)
    for true, predicted, rows in groups:
        assert {(e.section_type, e.predicted) for e in rows} == {(true, predicted)}
        assert [e.confidence for e in rows] == sorted((e.confidence for e in rows), reverse=True)


def test_small_slices_are_folded_away(html):
    slices_part = html[html.index('<section id="slices"') : html.index('<section id="learning"')]
    folded = slices_part[slices_part.index("<details>") : slices_part.index("</details>")]
    assert "Op ed" in folded
    assert "Wire report" not in folded
    assert "Wire report" in slices_part


def test_the_file_is_written_whole_or_not_at_all(data, tmp_path, monkeypatch):
    small = ReportData(title="Only scores", model="blend", scores={"blend": data.own})
    path = write_report(tmp_path / "deep" / "report.html", small)
    before = path.read_bytes()
    assert before.decode("utf-8").rstrip().endswith("</html>")
    assert write_report(path, small).read_bytes() == before  # the same data, the same bytes

    def fail(self, target):
        raise OSError("disk full")

    monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_report(path, replace(small, title="Another"))
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


def test_a_model_without_scores_is_refused(data):
    with pytest.raises(DataError, match="model is 'blnd', but the scores are of: blend, tfidf, majority"):
        replace(data, model="blnd")
    with pytest.raises(DataError, match="the scores are of: empty"):
        ReportData(title="t", model="m", scores={})


def test_shares_are_never_rounded_to_certainty():
    assert [percent(x) for x in (0, 0.004, 0.5, 0.996, 1)] == ["0 %", "under 1 %", "50 %", "over 99 %", "100 %"]
    assert [percent(x, 1) for x in (0.0004, 0.123, 0.9999)] == ["under 0.1 %", "12.3 %", "over 99.9 %"]


def test_intervals_are_written_for_reading():
    assert interval_html(Interval(0.5, 0.4, 0.6)) == '<b>0.500</b> <span class="range">0.400–0.600</span>'
    assert interval_html(Interval(0.5, 0.4, 0.6), "percent") == '<b>50.0 %</b> <span class="range">40.0–60.0 %</span>'
    assert "−0.100 to +0.200" in interval_html(Interval(0.05, -0.1, 0.2), "signed")
    assert "under 0.1 %–60.0 %" in interval_html(Interval(0.5, 0.0001, 0.6), "percent")
    assert interval_html(Interval(0.5)) == "<b>0.500</b>"
    assert "not measured" in interval_html(None)
