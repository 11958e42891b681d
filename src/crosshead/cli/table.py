"""Answers as a person reads them: each article's shape, its headings, and a coloured bar before every paragraph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from crosshead.cli.words import counted, percent, printable
from crosshead.cli.writers import new_headings
from crosshead.feeds.items import Answer

if TYPE_CHECKING:
    from crosshead.tagging.tagger import Tag

COLOURS = ("dark_orange", "dodger_blue1", "medium_purple1", "grey62", "green3", "deep_pink3", "gold3", "cyan3")
"""One a section type, in taxonomy order; every colour also has a name beside it."""
NARROW = 64
"""Columns below which the text stands under its section type, not beside it."""
BAR, UNSURE_BAR = "▌", "┊"
NOVEL = "≠"
"""Beside the section type of a text of another kind than that of training."""


class TableWriter:
    """Writes answers to a terminal, or to a file as wide as one."""

    def __init__(self, console: Console, section_types: Sequence[str]) -> None:
        self._console = console
        self._colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(section_types)}
        self._width = max(map(len, section_types), default=0) + 1

    def write(self, answers: Sequence[Answer]) -> None:
        """Write a block for each article, a row for each text on its own, a line for each error."""
        for answer in answers:
            if answer.error:
                self._console.print(Text(f"✗ {printable(answer.item.name)}: {printable(answer.error)}", style="red"))
            elif answer.item.is_article:
                self._console.print(self._article(answer))
            else:
                self._console.print(self._rows(answer))

    def close(self) -> None:
        """Write nothing more."""

    def _article(self, answer: Answer) -> Group:
        item = answer.item
        title = (item.article.title or item.article.article_id) if item.article else item.echo.get("article_id")
        head = Text(printable(str(title or item.name)), style="bold", no_wrap=True, overflow="ellipsis")
        return Group(Rule(style="dim"), head, self._summary(answer), Text(), self._rows(answer), Text())

    def _summary(self, answer: Answer) -> Text:
        """Draw the article's shape, one mark a paragraph, and count the section types."""
        line = Text(no_wrap=False)
        for tag in answer.tags[: self._console.width - 2]:
            line.append(UNSURE_BAR if tag.abstained else "█", style=self._colours[tag.section_type])
        line.append("\n")
        counts = Counter(tag.section_type for tag in answer.tags)
        parts = [Text(f"{name} {n}", style=self._colours[name]) for name, n in counts.most_common()]
        if unsure := sum(tag.abstained for tag in answer.tags):
            parts.append(Text(f"not sure {UNSURE_BAR} {unsure}", style="italic"))
        if novel := sum(tag.out_of_distribution is True for tag in answer.tags):
            parts.append(Text(f"unlike the training text {NOVEL} {novel}", style="yellow"))
        if cut := sum(tag.truncated_tokens > 0 for tag in answer.tags):
            parts.append(Text(f"end not read: {counted(cut, 'long paragraph')}", style="yellow"))
        left_out = answer.item.article.left_out if answer.item.article else {}
        parts.extend(Text(f"left out: {n} {kind}", style="dim") for kind, n in left_out.items())
        return line.append(Text(" · ").join(parts))

    def _rows(self, answer: Answer) -> Table:
        item = answer.item
        table = Table.grid(padding=(0, 1))
        for column in (1, self._width, 4) if self._console.width >= NARROW else (1,):
            table.add_column(width=column, no_wrap=True)
        table.add_column(ratio=1)
        above: tuple[str, ...] = ()
        for i, (text, tag) in enumerate(zip(item.paragraphs, answer.tags, strict=True)):
            headings = item.article.paragraphs[i].headings if item.article else ()
            for level, heading in new_headings(above, headings):
                self._add_heading(table, "  " * level + printable(heading))
            above = headings
            name = item.echo.get("id") if not item.is_article else None
            self._add_row(table, tag, printable(text if name is None else f"{name}: {text}"))
        return table

    def _add_heading(self, table: Table, heading: str) -> None:
        blank = [""] * (len(table.columns) - 1)
        table.add_row(*blank, Text(heading, style="bold"))

    def _add_row(self, table: Table, tag: Tag, text: str) -> None:
        colour = self._colours[tag.section_type]
        bar = UNSURE_BAR if tag.abstained else BAR
        name = Text(tag.section_type, style=f"italic {colour}" if tag.abstained else colour)
        name.append(NOVEL if tag.out_of_distribution else "?" if tag.abstained else "")
        confidence = Text(f"{percent(tag.confidence):>4}")
        words = Text(text, style="dim" if tag.abstained else "", no_wrap=True, overflow="ellipsis")
        if self._console.width >= NARROW:
            table.add_row(Text(bar, style=colour), name, confidence, words)
        else:
            table.add_row(Text(f"{bar}\n{bar}", style=colour), Group(name.append(" ").append_text(confidence), words))
