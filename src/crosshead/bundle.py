"""A saved tagger: one folder, no pickle, every file hashed.

::

    manifest.json          section types, views, thresholds, versions, and the sha256 of every other file
    heads.safetensors      the trained heads as arrays
    vocabulary/NAME.json   the terms of a TF-IDF view, in column order
    encoder/               the encoder's graph, or its token vectors, and its tokenizer
    sklearn/NAME.skops     the scikit-learn object of each view, for inspection and further training only

``load`` checks every hash before anything else reads a file, and builds only the kinds that this module names.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosshead import __version__, estimator_files
from crosshead.errors import BundleError, ConfigError
from crosshead.tagging.decoding import Chain, Decoder, Transitions
from crosshead.tagging.heads import HEADS, Head
from crosshead.tagging.novelty import Novelty
from crosshead.tagging.soundness import check
from crosshead.tagging.tagger import AnyView, Encoder, ParagraphView, SentenceView, Tagger, TfidfView
from crosshead.tagging.tfidf import Tfidf
from crosshead.whole import new_folder

FORMAT = 1
MANIFEST, HEADS_FILE = "manifest.json", "heads.safetensors"
MAX_MANIFEST_BYTES = 16 * 1024**2
LARGEST_DIFFERENCE = 1e-3
"""A bundle whose probabilities differ by more from the tagger that it was saved from is not written."""
LARGEST_ACROSS_ENGINES = 0.03
"""The same where training had its vectors from another engine than the one that the bundle takes on this machine.
bf16 against float32, on 465 held-out paragraphs: 0.005 at most, and no other section type."""


def digest(folder: Path) -> str:
    """Name a bundle by its content: the sha256 of its manifest, which holds the sha256 of every other file."""
    return _sha256(folder / MANIFEST)


def n_bytes(folder: Path) -> int:
    """Return the size of a bundle."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _sha256(path: Path) -> str:
    try:
        if path.exists() and not path.is_file():  # a pipe or a device may have no end
            raise OSError(errno.EINVAL, "it is no ordinary file")
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError) as error:  # a name may hold what no path holds
        raise BundleError(
            f"bundle file {path.name:.100} cannot be read ({getattr(error, 'strerror', None) or error}); "
            "the bundle is incomplete: copy it again or train again"
        ) from error


# -- saving ----------------------------------------------------------------------------------------------------------


def save(
    tagger: Tagger,
    folder: Path,
    *,
    encoder_dir: Path | None = None,
    estimators: Mapping[str, Any] | None = None,
    about: Mapping[str, Any] | None = None,
    check: tuple[list[list[str]], NDArray[np.float64]] | None = None,
) -> str:
    """Write a tagger to ``folder``, replacing what is there, and return the bundle's digest.

    Parameters
    ----------
    encoder_dir
        Graph folder of ``tagger.encoder``.
    estimators
        The scikit-learn object of each view, kept beside the arrays.
    about
        Facts that go into the manifest: taxonomy, dataset digest, scores.
    check
        Held-out articles and the probabilities that the tagger gave them in training.

    Raises
    ------
    BundleError
        If the saved tagger's probabilities differ from ``check`` by more than ``LARGEST_DIFFERENCE``, or the folder
        holds something else than a saved tagger; nothing is written.
    """
    is_tagger = (folder / MANIFEST).is_file() and (folder / HEADS_FILE).is_file()
    if folder.exists() and not is_tagger and (not folder.is_dir() or any(folder.iterdir())):
        raise BundleError(
            f"{str(folder)!r} holds something else than a saved tagger and would be replaced; name another folder, or "
            "empty this one"
        )
    with new_folder(folder) as made:
        _write(tagger, made, encoder_dir, estimators or {}, about or {})
        if check is not None:
            _check_same(tagger, made, *check)
    return digest(folder)


def _write(
    tagger: Tagger, work: Path, encoder_dir: Path | None, estimators: Mapping[str, Any], about: Mapping[str, Any]
) -> None:
    from safetensors.numpy import save

    arrays: dict[str, NDArray[Any]] = {f"transitions/{name}": a for name, a in tagger.transitions.arrays().items()}
    for view in tagger.views:
        arrays |= {f"{view.name}/{name}": np.ascontiguousarray(array) for name, array in view.head.arrays().items()}
        if isinstance(view, TfidfView):
            arrays[f"{view.name}/idf"] = view.tfidf.idf
            terms = sorted(view.tfidf.vocabulary, key=lambda term: view.tfidf.vocabulary[term])
            _write_json(work / "vocabulary" / f"{view.name}.json", terms)
    if tagger.novelty is not None:
        arrays |= {f"novelty/{name}": array for name, array in tagger.novelty.arrays().items()}
    # Written by ourselves: a full disk is then an OSError as everywhere else.
    (work / HEADS_FILE).write_bytes(save({name: np.atleast_1d(array) for name, array in arrays.items()}))
    if tagger.encoder is not None:
        if encoder_dir is None:
            raise BundleError(
                "the tagger has an encoder but save() got no encoder_dir; give the encoder's graph folder"
            )
        shutil.copytree(encoder_dir, work / "encoder")
    for name, estimator in estimators.items():
        estimator_files.write(work, name, estimator)
    _write_json(work / MANIFEST, _manifest(tagger, work, about))


def _manifest(tagger: Tagger, work: Path, about: Mapping[str, Any]) -> dict[str, Any]:
    files = sorted(path for path in work.rglob("*") if path.is_file())
    return {
        "format": FORMAT,
        "crosshead": __version__,
        "name": tagger.name,
        "version": tagger.version,
        "section_types": list(tagger.section_types),
        "views": [_describe(view) for view in tagger.views],
        "encoder": tagger.encoder.fingerprint if tagger.encoder is not None else None,
        "temperature": tagger.temperature,
        "decoder": tagger.transitions.kind,
        "decoder_weight": tagger.transitions.spec.weight,
        "decoder_l2": tagger.transitions.spec.l2,
        "threshold": tagger.threshold,
        "risk": tagger.risk,
        "conformal_quantile": tagger.conformal_quantile,
        "conformal_alpha": tagger.conformal_alpha,
        "novelty_threshold": tagger.novelty.threshold if tagger.novelty is not None else None,
        "novelty_false_alarms": tagger.novelty.false_alarms if tagger.novelty is not None else None,
        "about": dict(about),
        "files": {path.relative_to(work).as_posix(): _sha256(path) for path in files},
    }


def _describe(view: AnyView) -> dict[str, Any]:
    described: dict[str, Any] = {"name": view.name, "kind": view.kind, "weight": view.weight, "head": view.head.kind}
    if isinstance(view, TfidfView):
        described["n_max"] = view.tfidf.n_max
    return described


def _write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        json.dumps(content, ensure_ascii=False, indent=None if isinstance(content, list) else 2), encoding="utf-8"
    )


def _check_same(tagger: Tagger, work: Path, articles: list[list[str]], expected: NDArray[np.float64]) -> None:
    saved = load(work)
    difference = float(np.abs(saved.predict_proba(articles) - expected).max()) if len(expected) else 0.0
    allowed = LARGEST_DIFFERENCE if _computes(saved) == _computes(tagger) else LARGEST_ACROSS_ENGINES
    if not difference <= allowed:
        raise BundleError(
            f"the saved tagger's probabilities differ by {difference:.2g} from those in training; "
            f"at most {allowed} is allowed; nothing was saved. "
            "Use the same engine for training and saving: encoder.engine=auto"
        )


def _computes(tagger: Tagger) -> str:
    """Name what computes a tagger's vectors; empty where that is not known."""
    encoder = tagger.encoder
    choice = getattr(encoder, "choice", None)
    return str(choice.computes if choice is not None else getattr(encoder, "computes", ""))


# -- loading ---------------------------------------------------------------------------------------------------------


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read and check the manifest; the files that it lists are not opened."""
    try:
        manifest = json.loads(_read_manifest_text(folder / MANIFEST))
    except FileNotFoundError as error:
        raise BundleError(
            f"{str(folder)!r} is no saved tagger: it holds no {MANIFEST}; give the folder that `crosshead train` wrote"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{MANIFEST} of {folder.name!r} cannot be read ({error}); copy the bundle again") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else type(manifest).__name__
        raise BundleError(
            f"bundle {folder.name!r} has format {found!r}; this crosshead ({__version__}) reads format {FORMAT}; "
            "install the crosshead that wrote it, or train again"
        )
    if not isinstance(manifest.get("about", {}), dict):
        raise BundleError(f"{MANIFEST} of {folder.name!r} says nothing about the bundle that can be read; train again")
    return manifest


def _read_manifest_text(path: Path) -> str:
    if path.stat().st_size > MAX_MANIFEST_BYTES:
        raise ValueError(f"it is larger than {MAX_MANIFEST_BYTES:,} bytes")
    return path.read_text(encoding="utf-8")


def verify(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Check the sha256 of every file that the manifest lists, and that nothing else lies in the folder."""
    listed = manifest.get("files")
    if not isinstance(listed, dict):
        raise BundleError(f"{MANIFEST} of {folder.name!r} lists no files; copy the bundle again or train again")
    for name, expected in listed.items():
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise BundleError(
                f"{MANIFEST} of {folder.name!r} lists {name!r}, a path outside the bundle; do not use this bundle"
            )
        if _sha256(folder / path) != expected:
            raise BundleError(
                f"bundle file {name!r} does not have the sha256 that the manifest gives; it was changed or damaged: "
                "copy the bundle again or train again, and do not use this one"
            )
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    if extra := sorted(found - set(listed) - {MANIFEST}):
        raise BundleError(
            f"bundle {folder.name!r} holds files that its manifest does not list: {extra[:5]}; remove them"
        )


def load(
    folder: Path | str,
    *,
    engine: str = "auto",
    n_threads: int | None = None,
    reuse: Encoder | None = None,
) -> Tagger:
    """Load a saved tagger, checking every file first.

    Parameters
    ----------
    reuse
        An encoder that is loaded already; it is used if it is the one that the bundle holds.

    Raises
    ------
    BundleError
        If a file is missing, changed or not listed, or the manifest names something that this crosshead does not know.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    verify(folder, manifest)
    try:
        tagger = _build(folder, manifest, engine, n_threads, reuse, compiled_dir())
        check(tagger)
        return tagger
    except (BundleError, ConfigError, MemoryError):
        raise
    except Exception as error:  # what a file that has the right hash makes a library raise, nobody can list
        raise BundleError(
            f"bundle {folder.name!r} does not hold together ({type(error).__name__}: {error}); train again"
        ) from error


def _build(
    folder: Path,
    manifest: Mapping[str, Any],
    engine: str,
    n_threads: int | None,
    reuse: Encoder | None,
    compiled: Path | None,
) -> Tagger:
    from safetensors.numpy import load_file

    arrays = load_file(folder / HEADS_FILE)
    encoder: Encoder | None = None
    if reuse is not None and reuse.fingerprint == manifest["encoder"]:
        encoder = reuse
    elif manifest["encoder"] is not None:
        from crosshead.encoders.saved import from_folder

        encoder = from_folder(folder / "encoder", engine=engine, n_threads=n_threads, compiled_dir=compiled)
        if encoder.fingerprint != manifest["encoder"]:
            raise BundleError(f"bundle {folder.name!r} was trained with another encoder than it holds; train again")
    return Tagger(
        section_types=tuple(manifest["section_types"]),
        views=tuple(_build_view(folder, described, arrays) for described in manifest["views"]),
        encoder=encoder,
        temperature=float(manifest["temperature"]),
        transitions=_build_decoder(manifest, arrays),
        threshold=float(manifest["threshold"]),
        risk=float(manifest["risk"]),
        name=str(manifest["name"]),
        version=str(manifest["version"]) or digest(folder)[:12],
        novelty=_build_novelty(manifest, arrays),
        **_conformal(manifest),
    )


def _conformal(manifest: Mapping[str, Any]) -> dict[str, float]:
    """Read the promise of label sets; bundles saved before there was one promise nothing."""
    if manifest.get("conformal_quantile") is None:
        return {}
    return {name: float(manifest[name]) for name in ("conformal_quantile", "conformal_alpha")}


def _build_novelty(manifest: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Novelty | None:
    """Read what tells text of another kind; bundles saved before there was any cannot tell."""
    if manifest.get("novelty_threshold") is None:
        return None
    limits = float(manifest["novelty_threshold"]), float(manifest["novelty_false_alarms"])
    return Novelty(arrays["novelty/mean"], arrays["novelty/whitening"], *limits)


def _build_decoder(manifest: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Decoder:
    """Build the decoder; bundles saved before there were two kinds hold transitions."""
    kind, weight = manifest.get("decoder", Transitions.kind), float(manifest["decoder_weight"])
    if kind == Transitions.kind:
        return Transitions(arrays["transitions/log_ratio"], weight)
    if kind != Chain.kind:
        raise ValueError(f"the decoder has kind {kind!r}; allowed are {Transitions.kind!r}, {Chain.kind!r}")
    chain = Chain(arrays["transitions/coef"], arrays["transitions/step"], weight, float(manifest["decoder_l2"]))
    if len(chain.step) != len(manifest["section_types"]):
        raise ValueError(f"the decoder is for {len(chain.step)} section types, not {len(manifest['section_types'])}")
    return chain


def _build_view(folder: Path, described: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> AnyView:
    name, kind, weight = str(described["name"]), described["kind"], float(described["weight"])
    parts = {key.removeprefix(f"{name}/"): array for key, array in arrays.items() if key.startswith(f"{name}/")}
    idf = parts.pop("idf", None)
    if described["head"] not in HEADS:
        raise ValueError(f"view {name!r} has head {described['head']!r}; allowed are {sorted(HEADS)}")
    head: Head = HEADS[described["head"]](**parts)
    if kind == "paragraph":
        return ParagraphView(name, weight, head)
    if kind == "sentence":
        return SentenceView(name, weight, head)
    if kind == "tfidf" and idf is not None:
        terms = json.loads((folder / "vocabulary" / f"{PurePosixPath(name).name}.json").read_text(encoding="utf-8"))
        vocabulary = {term: column for column, term in enumerate(terms)}
        return TfidfView(name, weight, head, Tfidf(vocabulary, idf, int(described["n_max"])))  # type: ignore[arg-type]
    raise ValueError(f"view {name!r} has kind {kind!r}; allowed are 'paragraph', 'sentence', 'tfidf'")


def compiled_dir() -> Path | None:
    """Folder where an engine keeps compiled graphs for a quick start; None where nothing can be written."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "crosshead" / "compiled"
    try:
        base.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return base if os.access(base, os.W_OK) else None


def load_estimators(folder: Path) -> dict[str, Any]:
    """Load the scikit-learn object of each view.

    Raises
    ------
    BundleError
        If a file was changed, or asks for a type that is not on `estimator_files`' list.
    """
    verify(folder, read_manifest(folder))
    return estimator_files.read(folder)
