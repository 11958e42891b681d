"""Stands in for the application until it does all that the page asks of it."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Header, Response

from crosshead.loading import load
from crosshead.readers.formats import read_article
from crosshead.server import page
from crosshead.text import text_digest


def stub_app(bundle: Path, corrections: Path) -> FastAPI:
    model = load(str(bundle))
    info = {"name": "tiny", "version": "1", "digest": model.digest}
    app = FastAPI()
    app.include_router(page.router)
    seen: set[str] = set()

    @app.post("/v1/tag")
    def tag(body: dict[str, Any]) -> Any:
        article = read_article(body["text"], format=body["format"])
        tags = model.tagger.tag_article(article.texts)
        rows = [
            {
                "index": p.index,
                "text": p.text,
                "start": p.start,
                "end": p.end,
                "headings": p.headings,
                **t.as_dict(),
                "label_set": None,
            }
            for p, t in zip(article.paragraphs, tags, strict=True)
        ]
        return {
            "title": article.title,
            "source": None,
            "left_out": article.left_out,
            "paragraphs": rows,
            "model": info,
        }

    @app.get("/v1/model")
    def card() -> Any:
        types = [{"name": name, "description": f"All that is {name}."} for name in model.tagger.section_types]
        return {**info, "section_types": types, "scores": {"macro_f1": 0.9}, "takes_corrections": True}

    @app.post("/v1/explain")
    def explain(body: dict[str, Any]) -> Any:
        text = body["paragraph"]
        tag = model.tagger.tag_article([text])[0]
        words = [(m.group(), m.start(), m.end()) for m in re.finditer(r"\w{5,}", text)]
        sentences = [(m.group(), m.start(), m.end()) for m in re.finditer(r"[^.]+\.?", text)]

        def parts(found: list[tuple[str, int, int]]) -> list[dict[str, Any]]:
            return [{"text": t, "start": a, "end": z, "effect": 0.7 - i} for i, (t, a, z) in enumerate(found)]

        return {**tag.as_dict(), "sentences": parts(sentences), "words": parts(words), "model": info}

    @app.post("/v1/corrections", status_code=201)
    def correct(body: dict[str, Any], response: Response, idempotency_key: str = Header()) -> Any:
        if idempotency_key not in seen:
            seen.add(idempotency_key)
            with corrections.open("a", encoding="utf-8", newline="") as file:
                row = [body["article_id"], body["paragraph"], text_digest(body["text"]), body["section_type"]]
                csv.writer(file).writerow([*row, body.get("annotator", "")])
        return {"id": idempotency_key}

    return app
