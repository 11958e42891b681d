"""What the page is made of: headers, caching, nothing from elsewhere, nothing inline, colours that stay apart."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from crosshead.limits import MAX_INPUT_BYTES
from crosshead.readers.formats import read_article
from crosshead.server import page

FOLDER = Path(page.__file__).with_name("page")
GALLERY = Path(page.__file__).with_name("gallery")


@pytest.fixture(scope="module")
def client() -> TestClient:
    app = FastAPI()
    app.include_router(page.router)
    return TestClient(app)


@pytest.mark.parametrize("path", ["/", *(f"/page/{name}" for name in page.files())])
def test_every_file_comes_with_its_type_and_the_strict_headers(client: TestClient, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 200
    assert response.headers["content-type"] in page.MEDIA_TYPES.values()
    for name, value in page.HEADERS.items():
        assert response.headers[name] == value
    assert response.content


def test_the_policy_allows_nothing_inline_and_nothing_from_elsewhere() -> None:
    policy = page.HEADERS["content-security-policy"]
    assert "unsafe" not in policy
    assert set(re.findall(r"(?<=-src )[^;]+", policy)) == {"'none'", "'self'"}


def test_a_browser_that_has_the_file_is_told_so(client: TestClient) -> None:
    first = client.get("/page/app.js")
    for known in (first.headers["etag"], f"W/{first.headers['etag']}", f'"other", {first.headers["etag"]}'):
        again = client.get("/page/app.js", headers={"if-none-match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
    assert client.get("/page/app.js", headers={"if-none-match": '"other"'}).status_code == 200
    assert client.get("/page/style.css").headers["etag"] != first.headers["etag"]


def test_head_is_answered(client: TestClient) -> None:
    assert client.head("/").status_code == 200


@pytest.mark.parametrize("path", ["no.js", "../app.py", "..%2Fapp.py", "%2e%2e/app.py", "gallery/", ""])
def test_nothing_else_is_served(client: TestClient, path: str) -> None:
    assert client.get(f"/page/{path}").status_code == 404


def test_nothing_is_inline_and_all_that_is_named_is_there() -> None:
    html = (FOLDER / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", html)
    assert all(
        "src=" in tag and body == "" for tag, body in re.findall(r"(<script[^>]*>)(.*?)</script>", html, re.DOTALL)
    )
    named = set(re.findall(r'(?:src|href)="page/([^"]+)"', html))
    for script in FOLDER.glob("*.js"):
        named |= set(re.findall(r'from "\./([^"]+)"', script.read_text(encoding="utf-8")))
    assert named == {path.name for path in FOLDER.iterdir()} - {"index.html"}


def test_nothing_comes_from_elsewhere() -> None:
    for path in FOLDER.iterdir():
        addresses = re.findall(r"(?:https?:)?//[a-z][\w.-]+\.[a-z]{2,}", path.read_text(encoding="utf-8"))
        assert set(addresses) <= {"http://www.w3.org"}, path.name  # the name of SVG


def test_the_code_knows_no_section_type() -> None:
    words = ("ground", "regional", "international", "conflict")
    for path in FOLDER.glob("*.[hj][ts]*"):
        assert not [word for word in words if word in path.read_text(encoding="utf-8").lower()], path.name


def test_files_are_taken_up_to_what_the_server_takes() -> None:
    script = (FOLDER / "files.js").read_text(encoding="utf-8")
    factor, base, power = map(int, re.findall(r"MAX_BYTES = (\d+) \* (\d+) \*\* (\d+);", script)[0])
    assert factor * base**power == MAX_INPUT_BYTES


def test_the_gallery_holds_articles_of_a_readable_length() -> None:
    cards = json.loads(page.files()["gallery.json"].body)
    assert [card["name"] for card in cards] == sorted(path.stem for path in GALLERY.iterdir())
    assert 4 <= len(cards) <= 6
    for card in cards:
        article = read_article(page.files()[f"gallery/{card['name']}.md"].body.decode(), format="markdown")
        assert card["title"] == article.title
        assert card["n_paragraphs"] == len(article.paragraphs)
        assert 8 <= card["n_paragraphs"] <= 14
        assert article.texts[0].startswith(card["standfirst"].removesuffix(" …"))


# -- colours ----------------------------------------------------------------------------------------------------------

# Machado, Oliveira and Fernandes (2009), A Physiologically-based Model for Simulation of Color Vision Deficiency,
# doi:10.1109/TVCG.2009.113, severity 1.0; linear sRGB.
VISIONS = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
# Ottosson (2020), A perceptual color space for image processing; linear sRGB to OKLab.
TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def linear(colour: str) -> np.ndarray:
    values = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def oklab(rgb: np.ndarray) -> np.ndarray:
    return np.asarray(TO_LAB @ np.cbrt(TO_LMS @ np.clip(rgb, 0, 1)))


def contrast(a: str, b: str) -> float:
    dark, light = sorted(float(np.array([0.2126, 0.7152, 0.0722]) @ linear(colour)) for colour in (a, b))
    return (light + 0.05) / (dark + 0.05)


def colours(theme: int) -> dict[str, str]:
    style = (FOLDER / "style.css").read_text(encoding="utf-8")
    pairs = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\);", style)
    return {name: pair[theme] for name, *pair in pairs}


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_colours_of_section_types_stay_apart_for_every_colour_vision(theme: int, vision: str) -> None:
    seen = [oklab(VISIONS[vision] @ linear(colours(theme)[f"hue-{i}"])) for i in range(1, 9)]
    for n, least in ((4, 0.15), (8, 0.08)):  # 0.02 is about what can just be told apart side by side
        for a, b in itertools.combinations(seen[:n], 2):
            assert np.linalg.norm(a - b) > least


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_colours_stand_out_from_the_paper(theme: int) -> None:
    found = colours(theme)
    for name in [*(f"hue-{i}" for i in range(1, 9)), "edge", "focus"]:
        assert contrast(found[name], found["paper"]) >= 3, name  # WCAG 2.2, 1.4.11
    for name in ("ink", "soft", "alarm"):
        for ground in ("paper", "sheet", "wash"):
            assert contrast(found[name], found[ground]) >= 4.5, (name, ground)  # 1.4.3
