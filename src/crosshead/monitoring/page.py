"""What monitoring found, in sentences and as one page."""

from __future__ import annotations

from markupsafe import Markup, escape

from crosshead.evaluation.bootstrap import Interval
from crosshead.monitoring.plots import plot_distributions, plot_shares
from crosshead.monitoring.results import NOTICE, About, Check, Drift
from crosshead.monitoring.sentences import p_text, reasons, sentences, value_text
from crosshead.reporting.report import environment, inline_plot


def to_html(drift: Drift, created: str = "", *, with_text: bool = True) -> str:
    """Write the page; ``with_text=False`` leaves paragraphs and words out."""
    plots = {}
    if drift.classes:
        plots["shares"] = inline_plot(plot_shares(drift.classes), "shares")
    distributions = plot_distributions(drift.histograms)
    if distributions is not None:
        plots["distributions"] = inline_plot(distributions, "distributions")
    return (
        environment()
        .get_template("drift.html")
        .render(
            drift=drift,
            created=created,
            summary=sentences(drift),
            plots=plots,
            words=_by_side(drift) if with_text else {},
            unlike=drift.unlike if with_text else (),
            hues={share.section_type: i % 6 for i, share in enumerate(drift.classes)},
            p_text=p_text,
            cell=_cell,
            notice=NOTICE * drift.false_alarms,
            size=_size,
            told=_details,
            reasons=reasons(drift),
        )
    )


def _by_side(drift: Drift) -> dict[str, list[object]]:
    sides: dict[str, list[object]] = {
        "more in the current articles": [word for word in drift.words if word.weight > 0],
        "more in the reference": [word for word in drift.words if word.weight < 0],
    }
    return {name: words for name, words in sides.items() if words}


def _cell(check: Check, interval: Interval | None) -> Markup:
    """Write a value with its interval below it."""
    value, _, ends = value_text(check, interval, with_ends=True).partition(" (")
    below = f' <span class="range">{escape(ends.removesuffix(")"))}</span>' if ends else ""
    return Markup(f"<b>{escape(value)}</b>{below}")


def _size(about: About) -> str:
    drawn = f" of {about.n_articles_seen:,}" if about.n_articles_seen > about.n_articles else ""
    return f"paragraphs: {about.n_paragraphs:,}, articles: {about.n_articles:,}{drawn}"


def _details(check: Check) -> str:
    return next((str(value) for value in check.details.values()), "")
