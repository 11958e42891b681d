"""Two samples in, everything that changed out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from crosshead.errors import MissingExtraError
from crosshead.monitoring import checks as made
from crosshead.monitoring.checks import Draws
from crosshead.monitoring.results import FALSE_ALARMS, About, Drift, Unlike, Word, judged
from crosshead.monitoring.sample import Sample
from crosshead.monitoring.two_sample import TwoSample
from crosshead.tagging.heads import Floats

N_UNLIKE = 8
N_BINS = 60
LEAST_SHARE = 0.01
"""Of a language that is named."""


@dataclass(frozen=True)
class Fitted:
    """What is known of the model."""

    section_types: tuple[str, ...]
    prior: Floats | None = None
    """The mixture of section types that was learnt."""
    facts: Mapping[str, str] = field(default_factory=dict)


def compare(
    reference: Sample,
    current: Sample,
    model: Fitted,
    *,
    false_alarms: float = FALSE_ALARMS,
    draws: Draws | None = None,
    with_text: bool = True,
) -> Drift:
    """Compare two samples in every way that what is known of them allows.

    Parameters
    ----------
    false_alarms
        The chance that any check stands at alarm although nothing has changed.
    with_text
        Whether paragraphs and words are named in the result.
    """
    draws = draws or Draws.enough_for(false_alarms)
    types = model.section_types
    mixture = made.correct_mixture(reference, current, draws, model.prior)
    embedding, test = made.check_vectors(reference, current, draws)
    all_checks = [
        made.check_classes(reference, current, types, draws),
        made.check_mixture(mixture, types),
        made.check_confidence(reference, current, draws),
        made.check_abstention(reference, current, draws),
        embedding,
        made.check_unknown_words(reference, current, draws),
        made.check_length(reference, current, draws),
        made.check_language(reference, current, draws),
        made.check_truncation(reference, current, draws),
    ]
    return Drift(
        checks=judged(all_checks, false_alarms),
        reference=_about(reference),
        current=_about(current),
        model=dict(model.facts),
        false_alarms=false_alarms,
        classes=tuple(made.class_shares(reference, current, types, draws, mixture)),
        words=tuple(_words(reference, current)) if with_text else (),
        unlike=tuple(_unlike(reference, current, test, types)) if with_text and test is not None else (),
        histograms=_histograms(reference, current, test),
        notes=tuple(_notes(reference, current)),
    )


def _about(side: Sample) -> About:
    counts = Counter(side.languages or ())
    shares = {name: n / len(side) for name, n in counts.most_common() if n / len(side) >= LEAST_SHARE}
    n_learnt = 0 if side.learnt is None else int(side.learnt.sum())
    return About(side.name, len(side), side.n_articles, side.n_articles_seen, n_learnt, side.n_failed, shares)


def _words(reference: Sample, current: Sample) -> list[Word]:
    if reference.texts is None or current.texts is None:
        return []
    try:
        from crosshead.monitoring.words import telling_words
    except ImportError as error:
        raise MissingExtraError("monitoring", "train") from error
    article, is_current = made.together((reference, current))
    return telling_words([*reference.texts, *current.texts], article, is_current)


def _unlike(reference: Sample, current: Sample, test: TwoSample, section_types: Sequence[str]) -> list[Unlike]:
    assert current.texts is not None
    scores = test.scores[len(reference) :]
    return [
        Unlike(
            current.ids[i],
            current.texts[i],
            None if current.answers is None else section_types[current.answers[i]],
            None if current.confidence is None else float(current.confidence[i]),
        )
        for i in np.argsort(-scores, kind="stable")[:N_UNLIKE]
    ]


def _histograms(reference: Sample, current: Sample, test: TwoSample | None) -> dict[str, dict[str, list[float]]]:
    """Tell the distributions, for the plots: the share of each side that lies below each of some places."""
    before, now = reference.unlearnt, current.unlearnt
    values: dict[str, tuple[Floats | None, Floats | None]] = {
        "confidence": (before.confidence, now.confidence),
        "length": (reference.n_words, current.n_words),
        "unknown_words": (before.unknown, now.unknown),
    }
    if test is not None:
        values["embedding"] = (test.scores[: len(reference)], test.scores[len(reference) :])
    return {
        name: _below(one, other)
        for name, (one, other) in values.items()
        if one is not None and other is not None and len(one) and len(other)
    }


def _below(reference: Floats, current: Floats) -> dict[str, list[float]]:
    both = np.concatenate([reference, current])
    low, high = np.quantile(both, [0.0, 0.995])
    places = np.linspace(low, high, N_BINS)
    shares = [np.searchsorted(np.sort(side), places, side="right") / len(side) for side in (reference, current)]
    return {"places": places.tolist(), "reference": shares[0].tolist(), "current": shares[1].tolist()}


def _notes(reference: Sample, current: Sample) -> list[str]:
    told = [*reference.notes, *current.notes]
    for which, side in (("reference", reference), ("current", current)):
        if side.n_failed:
            told.append(f"{side.n_failed:,} inputs of the {which} could not be read or tagged; they are not compared.")
        if side.n_articles_seen > side.n_articles:
            told.append(
                f"Of {side.n_articles_seen:,} articles of the {which}, {side.n_articles:,} were drawn; --max-articles "
                "takes more."
            )
    if current.learnt is not None and current.learnt.any():
        share = current.learnt.mean()
        told.append(
            f"{share:.0%} of the current paragraphs are among those that the model was trained on; checks on its "
            "answers leave them out."
        )
    return told
