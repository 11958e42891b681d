"""The words and numbers of the report: how figures are written, and what they mean in plain sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from crosshead.evaluation import Interval, Scores
from crosshead.reporting.plots import readable
from crosshead.text import counted

if TYPE_CHECKING:
    from crosshead.reporting.report import ReportData

MAX_TEXT_CHARACTERS = 3_000
ABOUT = {
    "majority": "always answers the most frequent section type",
    "tfidf": "counts words and pairs of words",
}


def percent(share: float, digits: int = 0) -> str:
    """Write a share as a percentage; never round a mistake away to 0 % or 100 %."""
    text = f"{100 * share:.{digits}f}"
    if 0 < share < 1 and float(text) in (0.0, 100.0):
        step = 10.0**-digits
        return f"under {step:g} %" if share < 0.5 else f"over {100 - step:g} %"
    return f"{text} %"


def signed(value: float) -> str:
    """Write a difference with its sign."""
    return f"{value:+.3f}".replace("-", "−")


def whole(number: int) -> str:
    """Write a difference of counts with its sign."""
    return f"{number:+,d}".replace("-", "−")


def interval_html(interval: Interval | None, form: str = "number") -> Markup:
    """Write a value with its interval below it in small; a dash for one that was not measured."""
    if interval is None:
        return Markup('<span class="none" title="not measured">–</span>')
    value = escape(_write(interval.value, form))
    if interval.low is None or interval.high is None:
        return Markup(f"<b>{value}</b>")
    low, high = _write(interval.low, form), _write(interval.high, form)
    if low.endswith("%") and low[0].isdigit() and high[0].isdigit():
        low = low.removesuffix(" %")
    join = " to " if form == "signed" else "–"
    return Markup(f'<b>{value}</b> <span class="range">{escape(low)}{join}{escape(high)}</span>')


def _write(value: float, form: str) -> str:
    return percent(value, 1) if form == "percent" else signed(value) if form == "signed" else f"{value:.3f}"


def markdown_cell(text: object) -> str:
    r"""Write a text so that it stays in its cell of a table and no Markdown or HTML in it comes to life.

    Examples
    --------
    >>> markdown_cell("a | <i>")
    'a \| &lt;i>'
    """
    written = " ".join(str(text).split())
    for mark in "\\|`*[]":
        written = written.replace(mark, f"\\{mark}")
    return written.replace("<", "&lt;")


def clip(text: str) -> str:
    r"""Let wrapped lines run on, but for the hard breaks of Markdown; shorten a very long text at a word, and say so.

    Examples
    --------
    >>> clip("A wrapped\nline.  \nA verse.")
    'A wrapped line.  \nA verse.'
    """
    text = re.sub(r"(?<! {2})(?<!\\)\n", " ", text)
    if len(text) <= MAX_TEXT_CHARACTERS:
        return text
    return f"{text[:MAX_TEXT_CHARACTERS].rsplit(maxsplit=1)[0]} … [{len(text):,} characters in all]"


def summarise(data: ReportData) -> list[str]:
    """Say in plain sentences what the figures mean, a paragraph for each question."""
    own = data.own
    how_good = (
        f"On {counted(own.n_paragraphs, 'paragraph')} of {counted(own.n_articles, 'article')} that it had not learnt "
        f"from, {data.named} chose the right section type for {_per_hundred(own.accuracy)}."
    )
    return [
        " ".join(sentences)
        for sentences in (
            [how_good, *_beside_baselines(data)],
            [*_strong_and_weak(own, data.confusion), *_contrast_sets(data)],
            [*_how_sure(data), *_answering_when_sure(own)],
        )
        if sentences
    ]


def _per_hundred(interval: Interval) -> str:
    text = f"{100 * interval.value:.0f} of every 100"
    if interval.low is None or interval.high is None:
        return text
    return f"{text} (on other articles of this kind, expect {100 * interval.low:.0f} to {100 * interval.high:.0f})"


def _beside_baselines(data: ReportData) -> Iterator[str]:
    about, told = {**ABOUT, **data.about}, []
    for name, scores in data.baselines.items():
        does = f", which {about[name]}," if name in about else ""
        right = f"“{name}”{does} is right for {100 * scores.accuracy.value:.0f} of every 100"
        if comparison := data.comparisons.get(name):
            right += " (the difference is clear)" if comparison.clear else " (the difference may be chance)"
        told.append(right)
    if told:
        yield f"For comparison, {', and '.join(told)}."


def _contrast_sets(data: ReportData) -> Iterator[str]:
    if data.model in data.set_accuracy:
        yield (
            f"It tags {percent(data.set_accuracy[data.model].value)} of the contrast sets right as a whole: paragraphs "
            "on one situation, in much the same words, that differ in what they say about it."
        )


def _answering_when_sure(own: Scores) -> Iterator[str]:
    if own.coverage is None or own.risk is None:
        if own.coverage is not None:
            yield "It was not sure enough to answer any paragraph at the risk that was asked for."
        return
    yield (
        f"Allowed to say “not sure”, it answers {percent(own.coverage.value)} of the paragraphs, "
        f"and {percent(own.risk.value, 1)} of these answers are wrong."
    )


def _strong_and_weak(own: Scores, confusion: NDArray[np.intp] | None) -> Iterator[str]:
    scored = [(i, c.section_type, c.f1.value) for i, c in enumerate(own.classes) if c.f1 is not None]
    if len(scored) < 2:
        return
    best, worst = max(scored, key=lambda row: row[2]), min(scored, key=lambda row: row[2])
    if best[2] == worst[2]:
        yield f"It is equally good at all {len(scored)} section types that were scored."
        return
    text = f"It is best at “{readable(best[1])}” and weakest at “{readable(worst[1])}”"
    if confusion is not None:
        taken = np.array(confusion[worst[0]])
        taken[worst[0]] = 0
        if taken.any():
            text += f", which it most often takes for “{readable(own.classes[int(taken.argmax())].section_type)}”"
    yield text + "."


def _how_sure(data: ReportData) -> Iterator[str]:
    if data.reliability is None:
        return
    bins, n = data.reliability.bins, data.own.n_paragraphs
    gap = sum(b.n * (b.accuracy.value - b.confidence) for b in bins) / n
    points = 100 * data.own.ece.value
    side = "more careful than it needs to be" if gap > 0 else "surer than it should be"
    leaning = f"; on the whole it is {side}" if abs(gap) > 0.02 else ""
    yield f"When it states how sure it is, it is {points:.0f} points off on average{leaning}."
