"""Label Studio's exports (JSON and JSON-MIN) → annotations.

A task's data must say which paragraph it is: ``article_id``, ``paragraph`` and ``text`` (or ``text_sha256``), as
`crosshead select` writes them. Skipped tasks and tasks without a choice are no annotations.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from crosshead.corpora.annotations import Annotation
from crosshead.errors import DataError
from crosshead.text import text_digest

SOURCE = "label_studio"
CONTROL = "section_type"
"""Name of the choice in the labelling interface; another one is taken where it is the only one."""

NOTE = "note"
"""Name of the text field whose words become the note; in JSON any text field's do."""

_DATA = {"id", "article_id", "paragraph", "text", "text_sha256", "title", "headings", "before", "after", NOTE}
_DATA |= {"suggestion", "strategy", "score", "annotator", "annotation_id", "created_at", "updated_at", "lead_time"}


def read_label_studio(path: Path, names: Mapping[str, str] | None = None) -> list[Annotation]:
    """Read an export; ``line`` of each annotation is the number of its task in the file, from 1.

    Parameters
    ----------
    path : Path
        What Label Studio gives as JSON or JSON-MIN.
    names : mapping of str to str, optional
        Annotators' names by their numbers or addresses in Label Studio; number 3 is ``label-studio-3`` otherwise.

    Raises
    ------
    DataError
        If the file is no such export, a task names no paragraph, or an annotation has several choices.
    """
    tasks = _load(path)
    return [annotation for number, task in enumerate(tasks, 1) for annotation in _read_task(task, number, path, names)]


def _load(path: Path) -> list[Any]:
    try:
        tasks = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"Label Studio export {path} cannot be read: {error.strerror}; check the path") from error
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"Label Studio export {path} is no JSON ({error}); export as JSON or JSON-MIN, and unpack what is packed"
        ) from error
    if not isinstance(tasks, list):
        raise DataError(f"Label Studio export {path} holds {type(tasks).__name__}; it must be a list of tasks")
    return tasks


def _read_task(task: Any, number: int, path: Path, names: Mapping[str, str] | None) -> Iterator[Annotation]:
    where = f"task {number} of Label Studio export {path}"
    if not isinstance(task, dict):
        raise DataError(f"{where} is {type(task).__name__}; it must be an object")
    is_full = isinstance(task.get("data"), dict)
    data = task["data"] if is_full else task
    given = task.get("annotations", task.get("completions")) if is_full else [task]
    if not isinstance(given, list) or not all(isinstance(annotation, dict) for annotation in given):
        raise DataError(f"{where} has no list of annotations; export as JSON or JSON-MIN")
    for annotation in given:
        if annotation.get("was_cancelled") or annotation.get("skipped"):
            continue
        choice = _one(_choices(annotation, where) if is_full else _flat_choices(annotation), where)
        if choice is None:
            continue
        author = annotation.get("completed_by" if is_full else "annotator")
        yield Annotation(
            **_place(data, where),
            section_type=choice,
            annotator=_name(author, names or {}),
            line=number,
            extra={
                "time": str(annotation.get("updated_at") or annotation.get("created_at") or ""),
                "source": SOURCE,
                "note": _note(annotation) if is_full else str(annotation.get(NOTE) or ""),
            },
        )


def _choices(annotation: Mapping[str, Any], where: str) -> list[Any]:
    """Return what was chosen: in the control of our name, or in the only one."""
    result = annotation.get("result")
    if not isinstance(result, list) or not all(isinstance(entry, dict) for entry in result):
        raise DataError(f"{where} has an annotation with the result {result!r:.80}; it must be a list of objects")
    found = [entry for entry in result if entry.get("type") == "choices"]
    own = [entry for entry in found if entry.get("from_name") == CONTROL]
    _check_controls([str(entry.get("from_name")) for entry in own or found], where)
    chosen: list[Any] = []
    for entry in own or found:
        value = entry.get("value")
        choices = value.get("choices") if isinstance(value, dict) else None
        chosen += choices if isinstance(choices, list) else [value]
    return chosen


def _flat_choices(task: Mapping[str, Any]) -> list[Any]:
    """Return what was chosen in JSON-MIN, where choices stand beside the data under their control's name."""
    if task.get("annotation_id") is None:
        return []
    if CONTROL in task:
        names = [CONTROL]
    else:
        names = [name for name, value in task.items() if name not in _DATA and _is_choice(value)]
    chosen: list[Any] = []
    for name in names:
        value = task[name]
        values = value if isinstance(value, list) else [value]
        for v in values:
            choices = v.get("choices", []) if isinstance(v, dict) else None
            chosen += choices if isinstance(choices, list) else [v]
    return chosen


def _is_choice(value: Any) -> bool:
    parts = value if isinstance(value, list) else []
    return isinstance(value, str) or any(isinstance(part, dict) and "choices" in part for part in parts)


def _check_controls(names: Sequence[str], where: str) -> None:
    if len(set(names)) > 1:
        raise DataError(
            f"{where} has choices in {', '.join(sorted(set(names)))}; name the one that holds the section type "
            f"{CONTROL!r} in the labelling interface"
        )


def _one(chosen: Sequence[Any], where: str) -> str | None:
    if not chosen:
        return None
    if len(chosen) > 1 or not isinstance(chosen[0], str):
        raise DataError(
            f"{where} has the choices {', '.join(map(str, chosen))}; a paragraph has one section type: set "
            'choice="single" in the labelling interface and decide again'
        )
    return chosen[0]


def _place(data: Mapping[str, Any], where: str) -> dict[str, Any]:
    article_id, paragraph, text, digest = (data.get(n) for n in ("article_id", "paragraph", "text", "text_sha256"))
    if isinstance(paragraph, str) and len(paragraph) < 10 and paragraph.isdecimal():  # as after an import from CSV
        paragraph = int(paragraph)
    if not isinstance(article_id, str) or not isinstance(paragraph, int) or isinstance(paragraph, bool):
        raise DataError(
            f"{where} has article_id {article_id!r:.80} and paragraph {paragraph!r:.80} in its data; import into Label "
            "Studio what crosshead select writes, so that every task says which paragraph it is"
        )
    of_text = text_digest(text) if isinstance(text, str) else None
    if not isinstance(digest, str):
        digest = of_text
    if digest is None:
        raise DataError(f"{where} has neither text nor text_sha256 in its data; a label must say what was read")
    if of_text is not None and not digest.lower().startswith(of_text):
        raise DataError(
            f"{where} has a text with sha256 {of_text!r} but says {digest[: len(of_text)]!r}; its text was changed in "
            "Label Studio: restore it"
        )
    return {"article_id": article_id, "paragraph": paragraph, "text_sha256": digest.lower()}


def _name(author: Any, names: Mapping[str, str]) -> str:
    if isinstance(author, dict):
        author = author.get("email") or author.get("id")
    known = names.get(str(author))
    if known is not None:
        return known
    return str(author) if isinstance(author, str) and not author.isdecimal() else f"label-studio-{author}"


def _note(annotation: Mapping[str, Any]) -> str:
    """Join what was typed into text fields of the labelling interface."""
    typed: list[str] = []
    for entry in _texts(annotation.get("result")):
        typed += entry if isinstance(entry, list) else [entry]
    return " ".join(str(text) for text in typed)


def _texts(result: Any) -> Iterable[Any]:
    for entry in result if isinstance(result, list) else ():
        if isinstance(entry, dict) and entry.get("type") == "textarea" and isinstance(entry.get("value"), dict):
            yield entry["value"].get("text") or []
