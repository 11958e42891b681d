"""A comparison of runs as a page and as Markdown; `Compared` is what both, and the terminal, show."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from crosshead import measures
from crosshead.evaluation import Comparison, Interval, McNemar, PairedDifferences, Scores
from crosshead.reporting.plots import plot_differences, readable
from crosshead.reporting.report import MAX_ERROR_BYTES, environment, inline_plot
from crosshead.reporting.report_text import clip, markdown_cell, signed
from crosshead.text import counted

SURE = 0.05
"""A difference is called clear below this p-value, corrected where there are several comparisons."""
LEVEL = 0.95
SETS = measures.title("set_accuracy")

Kind = Literal["lost", "gained", "other"]
KINDS: dict[Kind, str] = {
    "lost": "right before, wrong now",
    "gained": "wrong before, right now",
    "other": "wrong both times, in another way",
}


@dataclass(frozen=True)
class Changed:
    """A paragraph that two runs answered differently."""

    paragraph_id: str
    section_type: str
    """The truth."""
    before: str
    before_confidence: float
    after: str
    after_confidence: float
    text: str | None = None
    """None where texts were not wanted."""
    headings: tuple[str, ...] = ()

    @property
    def kind(self) -> Kind:
        """Which way it changed sides."""
        if self.before == self.section_type:
            return "lost"
        return "gained" if self.after == self.section_type else "other"


@dataclass(frozen=True)
class Against:
    """One run (b) against the baseline (a)."""

    name: str
    differences: PairedDifferences
    p_values: Mapping[str, float | None]
    """Two-sided, by overall measure and ``mcnemar``; corrected (Holm) where several runs are compared."""
    mcnemar: McNemar
    sets: Comparison | None
    changed: tuple[Changed, ...]

    @property
    def verdict(self) -> Literal["better", "worse", "may be chance", "not known"]:
        """What can be said of macro-F1."""
        comparison, p = self.differences.overall["macro_f1"], self.p_values["macro_f1"]
        if p is None:
            return "not known"
        if p >= SURE or comparison.difference.value == 0:
            return "may be chance"
        return "better" if comparison.difference.value > 0 else "worse"


@dataclass(frozen=True)
class Compared:
    """Runs on the same paragraphs; the first is the baseline of the others."""

    names: tuple[str, ...]
    scores: Mapping[str, Scores]
    sets: Mapping[str, Interval]
    """Share of contrast sets that each run tags right as a whole; empty without contrast sets."""
    against: tuple[Against, ...]
    n_resamples: int
    facts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By run: what it is, for the reader to find it again."""
    notes: tuple[str, ...] = ()

    @property
    def baseline(self) -> str:
        """The run that the others are compared with."""
        return self.names[0]

    @property
    def section_types(self) -> tuple[str, ...]:
        """In taxonomy order."""
        return tuple(c.section_type for c in self.scores[self.baseline].classes)


def corrections(compared: Compared) -> str:
    """Say how the p-values are to be read."""
    resampled = (
        f"Intervals (95 %) and p-values come from {compared.n_resamples:,} resamples of whole articles, the same for "
        "both runs of a pair; McNemar's exact test takes paragraphs as independent, which those of one article are not."
    )
    n = len(compared.against)
    if n == 1:
        return f"{resampled} Each measure is tested by itself: of twenty such tests one misleads by chance."
    return (
        f"{resampled} {n} runs are compared with {compared.baseline}, so each measure's p-values are corrected by "
        "Holm's method: raised as far as the number of runs demands. Intervals are not corrected."
    )


def measured(compared: Compared) -> list[str]:
    """List the overall measures that any of the runs has."""
    return list(dict.fromkeys(name for scores in compared.scores.values() for name in scores.overall()))


def sentences(compared: Compared) -> list[str]:
    """Say in plain words what the figures mean."""
    own = compared.scores[compared.baseline]
    articles = counted(own.n_articles, "held-out article")
    told = [f"All runs tagged the same {counted(own.n_paragraphs, 'paragraph')} of {articles}."]
    return [*told, *(_sentence(compared.baseline, row) for row in compared.against)]


def _sentence(baseline: str, row: Against) -> str:
    f1, p = row.differences.overall["macro_f1"], row.p_values["macro_f1"]
    if row.verdict == "not known":
        return f"Whether {row.name} is better than {baseline} cannot be said: too few articles to resample."
    told = {
        "better": f"{row.name} is better than {baseline}",
        "worse": f"{row.name} is worse than {baseline}",
        "may be chance": f"No clear difference between {row.name} and {baseline}",
    }[row.verdict]
    counts = {kind: sum(changed.kind == kind for changed in row.changed) for kind in KINDS}
    return (
        f"{told}: macro-F1 {difference(f1)}, p {p_text(p)}; {counted(counts['gained'], 'paragraph')} became right, "
        f"{counts['lost']} became wrong."
    )


def difference(comparison: Comparison | None) -> str:
    """Write a difference with its interval: ``+0.021 (−0.004 to +0.046)``."""
    if comparison is None:
        return "–"
    interval = comparison.difference
    if interval.low is None or interval.high is None:
        return signed(interval.value)
    return f"{signed(interval.value)} ({signed(interval.low)} to {signed(interval.high)})"


def p_text(p: float | None) -> str:
    """Write a p-value; never 0."""
    return "–" if p is None else "under 0.001" if p < 0.001 else f"{p:.3f}"


# -- Markdown ----------------------------------------------------------------------------------------------------------


def to_markdown(compared: Compared) -> str:
    """Write the comparison as Markdown."""
    parts = [f"# {' · '.join(map(markdown_cell, compared.names))}", *sentences(compared)]
    parts += [f"> {note}" for note in compared.notes]
    parts += ["## Scores", _scores_table(compared), f"{measures.explained(measured(compared))} · ↓ lower is better"]
    for row in compared.against:
        parts += [f"## {markdown_cell(row.name)} against {markdown_cell(compared.baseline)}", _differences_table(row)]
        parts += [_classes_table(compared, row)]
    parts += [corrections(compared), "## Paragraphs that changed sides", *_changed_markdown(compared)]
    parts += ["## Runs", _facts_table(compared)] if compared.facts else []
    return "\n\n".join(parts) + "\n"


def _scores_table(compared: Compared) -> str:
    rows = [
        [measures.title(name), *(str(compared.scores[run].overall().get(name, "–")) for run in compared.names)]
        for name in measured(compared)
    ]
    if compared.sets:
        rows.append([SETS, *(str(compared.sets[run]) for run in compared.names)])
    return _table(["", *compared.names], rows)


def _differences_table(row: Against) -> str:
    rows = [
        [measures.title(name), difference(comparison), p_text(row.p_values[name])]
        for name, comparison in row.differences.overall.items()
    ]
    if row.sets is not None:
        rows.append([SETS, difference(row.sets), p_text(row.p_values["set_accuracy"])])
    told = f"only this right {row.mcnemar.only_b}, only the other {row.mcnemar.only_a}"
    rows.append(["McNemar", told, p_text(row.p_values["mcnemar"])])
    return _table(["measure", "difference", "p"], rows)


def _classes_table(compared: Compared, row: Against) -> str:
    support = {c.section_type: c.support for c in compared.scores[compared.baseline].classes}
    rows = [[name, f"{support[name]:,}", difference(row.differences.f1.get(name))] for name in compared.section_types]
    return _table(["section type", "paragraphs", "difference in F1"], rows)


def _changed_markdown(compared: Compared) -> Iterator[str]:
    for row in compared.against:
        for kind, words in KINDS.items():
            group = [changed for changed in row.changed if changed.kind == kind]
            if not group:
                continue
            yield f"### {markdown_cell(row.name)}: {words} ({len(group)})"
            for changed in group:
                truth, before, after = map(markdown_cell, (changed.section_type, changed.before, changed.after))
                yield (
                    f"**{truth}**: {before} ({changed.before_confidence:.2f}) → {after} "
                    f"({changed.after_confidence:.2f}), `{changed.paragraph_id}`"
                )
                if changed.text is not None:
                    yield "\n".join(f"> {line}" for line in clip(changed.text).splitlines())
    if not any(row.changed for row in compared.against):
        yield "None."


def _facts_table(compared: Compared) -> str:
    names = list(dict.fromkeys(name for facts in compared.facts.values() for name in facts))
    rows = [[name, *(compared.facts.get(run, {}).get(name, "–") for run in compared.names)] for name in names]
    return _table(["", *compared.names], rows)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(markdown_cell(cell) for cell in line) + " |" for line in lines)


# -- HTML --------------------------------------------------------------------------------------------------------------


def to_html(compared: Compared, created: str = "") -> str:
    """Write the comparison as one page that holds everything it shows."""
    plot = plot_differences({row.name: row.differences for row in compared.against}, compared.section_types)
    shown = {row.name: list(_within_budget(row.changed, len(compared.against))) for row in compared.against}
    return (
        environment()
        .get_template("compare.html")
        .render(
            compared=compared,
            created=created,
            summary=sentences(compared),
            corrections=corrections(compared),
            plot=inline_plot(plot, "differences"),
            measures=measured(compared),
            title=measures.title,
            sets_name=SETS,
            kinds=KINDS,
            shown=shown,
            hues={name: i % 6 for i, name in enumerate(compared.section_types)},
            p_text=p_text,
            readable=readable,
        )
    )


def _within_budget(changed: Iterable[Changed], n_runs: int) -> Iterator[Changed]:
    """Yield paragraphs until their texts would make the page unwieldy."""
    spent = 0
    for row in changed:
        spent += len(clip(row.text or "").encode("utf-8", "replace")) + 900
        if spent > MAX_ERROR_BYTES / n_runs:
            return
        yield row
