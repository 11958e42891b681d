"""Section types, and which headings stand for which of them.

A taxonomy comes from a mapping (``conf/taxonomy/`` holds ours); nothing here knows any particular subject.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from crosshead.errors import ConfigError

_NOT_A_WORD = re.compile(r"[\W_]+")
_NAME = re.compile(r"[^\W\d][\w-]*")
_SHORTEST_HINT = 4  # characters; shorter words ("the", "of") say nothing about a section type
_STEM = 6  # characters; words that begin alike count as one ("refugee", "refugees"; "neighbor", "neighbour")


@dataclass(frozen=True, slots=True)
class TextRule:
    """Signs in a paragraph's own text that it belongs to a section type; one vote, however many of them it has.

    Parameters
    ----------
    name : str
        What it is called in reports, such as "shelling".
    phrases : tuple of str
        Whole words; case, accents and punctuation do not matter. A ``*`` at the end stands for any ending.
    patterns : tuple of str
        Regular expressions searched in the text as written, ignoring case.
    """

    name: str
    phrases: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SectionType:
    """One thing that a paragraph can be about.

    Parameters
    ----------
    name : str
        A word without spaces; it names columns and JSON keys.
    description : str
        What belongs here; also read for suggestions.
    heading_phrases : tuple of str
        Whole words looked for in a heading; case, accents and punctuation do not matter.
    heading_patterns : tuple of str
        Regular expressions searched in the heading as written, ignoring case.
    text_rules : tuple of TextRule
        Signs in a paragraph's text; they vote in weak supervision and label nothing by themselves.
    """

    name: str
    description: str = ""
    heading_phrases: tuple[str, ...] = ()
    heading_patterns: tuple[str, ...] = ()
    text_rules: tuple[TextRule, ...] = ()


@dataclass(frozen=True, slots=True)
class HeadingMatch:
    """What a heading stands for, and why.

    ``section_type`` is None where nothing or too much matched; then ``suggestion`` is the nearest section type, if
    any is near. ``candidates`` names the section types between which a conflict leaves the choice open.
    """

    section_type: str | None
    reason: str
    suggestion: str | None = None
    candidates: tuple[str, ...] = ()


@dataclass(frozen=True)
class Taxonomy:
    """Section types in a fixed order, which is the order of every probability vector.

    ``default`` is the section type of a heading that matches nothing; None leaves its paragraphs unlabelled.

    Examples
    --------
    >>> taxonomy = Taxonomy.from_mapping({"section_types": [
    ...     {"name": "cost", "heading_phrases": ["price"]}, {"name": "care", "heading_phrases": ["keeping it clean"]}]})
    >>> taxonomy.match_heading("What price?").section_type
    'cost'
    """

    definitions: tuple[SectionType, ...]
    name: str = "taxonomy"
    default: str | None = None
    _rules: _Rules = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_names(self.definitions)
        for definition in self.definitions:
            _check_text_rules(definition)
        if self.default is not None and self.default not in self.section_types:
            raise ConfigError(
                f"taxonomy.default is {self.default!r}, which is no section type; allowed: null, "
                f"{', '.join(self.section_types)}{_nearest(str(self.default), self.section_types)}"
            )
        object.__setattr__(self, "_rules", _Rules(self.definitions))

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Taxonomy:
        """Build a taxonomy from plain data: ``name``, ``default`` and a list of ``section_types``.

        Raises
        ------
        ConfigError
            If a key or value cannot be used; the message names it.
        """
        _check_keys(mapping, ("name", "default", "section_types"), "taxonomy")
        entries = mapping.get("section_types")
        if not isinstance(entries, Sequence) or isinstance(entries, str):
            raise ConfigError(f"taxonomy.section_types is {entries!r}; it must be a list of mappings, each with a name")
        definitions = tuple(_section_type(entry, number) for number, entry in enumerate(entries))
        return cls(definitions, name=str(mapping.get("name", "taxonomy")), default=mapping.get("default"))

    def as_mapping(self) -> dict[str, Any]:
        """Give the plain data that :meth:`from_mapping` takes."""
        return {
            "name": self.name,
            "default": self.default,
            "section_types": [
                {
                    "name": definition.name,
                    "description": definition.description,
                    "heading_phrases": list(definition.heading_phrases),
                    "heading_patterns": list(definition.heading_patterns),
                    "text_rules": [
                        {"name": rule.name, "phrases": list(rule.phrases), "patterns": list(rule.patterns)}
                        for rule in definition.text_rules
                    ],
                }
                for definition in self.definitions
            ],
        }

    @property
    def section_types(self) -> tuple[str, ...]:
        """The names, in order."""
        return tuple(definition.name for definition in self.definitions)

    def match_heading(self, heading: str) -> HeadingMatch:
        """Say which section type a heading stands for.

        All phrases and patterns are tried; the one that covers most words of the heading wins. Two section types
        that cover equally many leave the heading without one: a label that is a guess is worse than none.
        """
        return self.match_path([heading])

    def match_path(self, headings: Sequence[str]) -> HeadingMatch:
        """Say which section type a path of headings (outermost first) stands for.

        The innermost heading that matches decides. A heading in conflict decides too, for none: it does speak of
        section types, so a heading further out must not speak for it.
        """
        if not headings:
            return HeadingMatch(None, "no heading")
        for heading in reversed(headings):
            hits = self._rules.hits(heading)
            if hits:
                return self._decide(heading, hits)
        suggestion = self._rules.suggest(headings[-1])
        if self.default is not None:
            return HeadingMatch(self.default, "nothing matches; the taxonomy's default", suggestion)
        return HeadingMatch(None, "nothing matches", suggestion)

    def _decide(self, heading: str, hits: list[_Hit]) -> HeadingMatch:
        n_words = max(hit.n_words for hit in hits)
        best = {hit.section_type: hit for hit in reversed(hits) if hit.n_words == n_words}
        tied = tuple(name for name in self.section_types if name in best)
        if len(tied) == 1:
            return HeadingMatch(tied[0], best[tied[0]].rule)
        reason = "conflict: " + ", ".join(f"{best[name].rule} → {name}" for name in tied)
        return HeadingMatch(None, reason, self._rules.suggest(heading), tied)


def fold_heading(heading: str) -> str:
    """Reduce a heading to its words: no case, no accents, no punctuation, single spaces."""
    # Decomposing may give capitals ("𝓐" → "A") and lowering may give accents ("İ" → "i̇"), hence twice.
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", heading).casefold())
    letters = "".join(character for character in decomposed if not unicodedata.combining(character))
    return _NOT_A_WORD.sub(" ", letters).strip()


@dataclass(frozen=True, slots=True)
class _Hit:
    section_type: str
    rule: str
    n_words: int


class _Rules:
    """The phrases and patterns of all section types, made ready for searching."""

    def __init__(self, definitions: tuple[SectionType, ...]) -> None:
        self._phrases: list[tuple[str, str, str]] = []
        self._patterns: list[tuple[re.Pattern[str], str]] = []
        self._users_of_stem: dict[str, set[str]] = defaultdict(set)
        owners: dict[str, str] = {}
        for definition in definitions:
            for phrase in definition.heading_phrases:
                folded = fold_heading(phrase)
                _check_phrase(phrase, folded, definition.name, owners)
                self._phrases.append((f" {folded} ", phrase, definition.name))
            for pattern in definition.heading_patterns:
                what = f"heading pattern {pattern!r} of section type {definition.name!r}"
                self._patterns.append((compile_pattern(pattern, what), definition.name))
            for stem in _stems([definition.name, definition.description, *definition.heading_phrases]):
                self._users_of_stem[stem].add(definition.name)

    def hits(self, heading: str) -> list[_Hit]:
        """Try every phrase and pattern on a heading."""
        words = f" {fold_heading(heading)} "
        hits = [
            _Hit(section_type, f"phrase {phrase!r}", folded.count(" ") - 1)
            for folded, phrase, section_type in self._phrases
            if folded in words
        ]
        written = unicodedata.normalize("NFC", heading)
        for pattern, section_type in self._patterns:
            found = pattern.search(written)
            if found:
                n_words = max(1, len(fold_heading(found.group()).split()))
                hits.append(_Hit(section_type, f"pattern '{pattern.pattern}'", n_words))
        return hits

    def suggest(self, heading: str) -> str | None:
        """Name the section type whose words overlap most with the heading's; None if none or several do.

        A word that few section types use counts more.
        """
        scores: dict[str, float] = defaultdict(float)
        for stem in sorted(_stems([heading])):  # sums of floats depend on the order
            users = self._users_of_stem.get(stem, set())
            for section_type in users:
                scores[section_type] += 1 / len(users)
        best = [name for name, score in scores.items() if score == max(scores.values())]
        return best[0] if len(best) == 1 else None


def _stems(texts: Iterable[str]) -> set[str]:
    words = (word for text in texts for word in fold_heading(text).split())
    return {word[:_STEM] for word in words if len(word) >= _SHORTEST_HINT}


def compile_pattern(pattern: str, what: str, searched: str = "heading") -> re.Pattern[str]:
    """Compile a regular expression that ignores case; ``what`` names it and ``searched`` its text in errors.

    Raises
    ------
    ConfigError
        If it is none, or matches an empty text.
    """
    try:
        compiled = re.compile(pattern, re.IGNORECASE)
    except re.error as error:
        raise ConfigError(f"{what} is no regular expression: {error}") from error
    if compiled.search(""):
        raise ConfigError(
            f"{what} matches an empty {searched}, so it would match every {searched}; make it require at least one word"
        )
    return compiled


def _check_phrase(phrase: str, folded: str, section_type: str, owners: dict[str, str]) -> None:
    if not folded:
        raise ConfigError(f"heading phrase {phrase!r} of section type {section_type!r} has no word in it")
    owner = owners.setdefault(folded, section_type)
    if owner != section_type:
        raise ConfigError(
            f"heading phrase {phrase!r} belongs to section types {owner!r} and {section_type!r}; "
            "keep it in one, or a heading with it could never be labelled"
        )


def _check_text_rules(definition: SectionType) -> None:
    seen: set[str] = set()
    for rule in definition.text_rules:
        what = f"text rule {rule.name!r} of section type {definition.name!r}"
        if not rule.name.strip() or rule.name in seen:
            raise ConfigError(f"{what} has a name that is empty or taken; give every rule of a section type its own")
        seen.add(rule.name)
        if not rule.phrases and not rule.patterns:
            raise ConfigError(f"{what} has neither phrases nor patterns; give it at least one")
        for phrase in rule.phrases:
            if not fold_heading(phrase):
                raise ConfigError(f"{what} has the phrase {phrase!r}, which has no word in it")
        for pattern in rule.patterns:
            compile_pattern(pattern, f"pattern {pattern!r} of {what}", "paragraph")


def _check_names(definitions: Sequence[SectionType]) -> None:
    if len(definitions) < 2:
        raise ConfigError(
            f"the taxonomy has {len(definitions)} section types; telling paragraphs apart needs at least 2"
        )
    seen: dict[str, str] = {}
    for definition in definitions:
        if not _NAME.fullmatch(definition.name):
            raise ConfigError(
                f"section type {definition.name!r} cannot be a name; allowed are letters, digits, '_' and '-', "
                "beginning with a letter"
            )
        twin = seen.get(definition.name.casefold())
        if twin is not None:
            raise ConfigError(f"two section types are named {twin!r} and {definition.name!r}; rename one")
        seen[definition.name.casefold()] = definition.name


def _section_type(entry: object, number: int) -> SectionType:
    where = f"taxonomy.section_types[{number}]"
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{where} is {entry!r}; it must be a mapping with a name")
    _check_keys(entry, ("name", "description", "heading_phrases", "heading_patterns", "text_rules"), where)
    name = entry.get("name")
    if not isinstance(name, str):
        raise ConfigError(f"{where}.name is {name!r}; it must be a word")
    return SectionType(
        name=name,
        description=" ".join(str(entry.get("description") or "").split()),
        heading_phrases=_words(entry.get("heading_phrases"), f"{where}.heading_phrases"),
        heading_patterns=_words(entry.get("heading_patterns"), f"{where}.heading_patterns"),
        text_rules=_text_rules(entry.get("text_rules"), f"{where}.text_rules"),
    )


def _text_rules(value: object, where: str) -> tuple[TextRule, ...]:
    if value is None:
        return ()
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ConfigError(f"{where} is {value!r}; it must be a list of mappings, each with a name and phrases")
    rules = []
    for number, entry in enumerate(value):
        _check_keys(entry, ("name", "phrases", "patterns"), f"{where}[{number}]")
        phrases = _words(entry.get("phrases"), f"{where}[{number}].phrases")
        patterns = _words(entry.get("patterns"), f"{where}[{number}].patterns")
        rules.append(TextRule(str(entry.get("name") or ""), phrases, patterns))
    return tuple(rules)


def _words(value: object, where: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ConfigError(f"{where} is {value!r}; it must be a list of texts")
    for item in value:
        if not isinstance(item, str):  # YAML reads an unquoted no, 2024 or 1:30 as something else
            raise ConfigError(f"{where} holds {item!r}, which is no text; put it in quotes")
    return tuple(value)


def _check_keys(mapping: object, allowed: Sequence[str], where: str) -> None:
    if not isinstance(mapping, Mapping):
        raise ConfigError(f"{where} is {mapping!r}; it must be a mapping with the keys {', '.join(allowed)}")
    for key in mapping:
        if key not in allowed:
            raise ConfigError(
                f"{where} has the unknown key {key!r}; allowed: {', '.join(allowed)}{_nearest(str(key), allowed)}"
            )


def _nearest(word: str, allowed: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, allowed, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
