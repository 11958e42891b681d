"""Real small members of the family: an encoder of one embedding table, a tagger trained on twelve paragraphs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

SECTION_TYPES = ("ground_developments", "regional_stability", "international_role", "other")

ARTICLES: list[tuple[str, list[tuple[str, str]]]] = [
    (
        "bridge",
        [
            (
                "Two battalions crossed the Tarn at night and took the brick works after an hour of firing.",
                "ground_developments",
            ),
            ("Shells fell on the railway yard until noon and the garrison lost eleven men.", "ground_developments"),
            (
                "Envoys of three outside states met in the lake town and asked the council for a mission.",
                "international_role",
            ),
        ],
    ),
    (
        "bread",
        [
            (
                "Refugees queue for bread on the far side of the border and the neighbour has shut two crossings.",
                "regional_stability",
            ),
            (
                "Flour prices doubled across the region and the neighbours fear unrest in their own towns.",
                "regional_stability",
            ),
            ("The writer was born in a village of beekeepers and still keeps his father's hives.", "other"),
        ],
    ),
    (
        "talks",
        [
            ("The council voted sanctions on fuel and the union pledged aid and more observers.", "international_role"),
            (
                "Mediators carried a draft between the envoys and the outside states promised money.",
                "international_role",
            ),
            (
                "Guns and drones struck the garrison again while battalions dug in at the railway.",
                "ground_developments",
            ),
        ],
    ),
    (
        "hives",
        [
            ("In the chapter on his childhood the writer recalls the school, the village and the hives.", "other"),
            ("The museum shows old clocks and the director hopes for more visitors in spring.", "other"),
            (
                "Refugees crossed the border on foot and the neighbours counted forty thousand in a week.",
                "regional_stability",
            ),
        ],
    ),
]


def build_graph(folder: Path, *, n_dimensions: int = 16, max_tokens: int = 64) -> Path:
    """Write a graph folder: token vectors averaged and scaled to unit length, with a word tokenizer."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    from crosshead.encoders.graph import GRAPH, TOKENIZER, About

    folder.mkdir(parents=True, exist_ok=True)
    words = sorted(
        {w for _, rows in ARTICLES for text, _ in rows for w in text.lower().replace(".", "").replace(",", "").split()}
    )
    vocabulary = {token: i for i, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / TOKENIZER))

    table = np.random.default_rng(0).normal(size=(len(vocabulary), n_dimensions)).astype(np.float32)
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["texts", "tokens"])
    mask = helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["texts", "tokens"])
    out = helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["texts", n_dimensions])
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["tokens_"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["mask3"]),
        helper.make_node("Mul", ["tokens_", "mask3"], ["seen"]),
        helper.make_node("ReduceSum", ["seen", "middle"], ["sum"], keepdims=0),
        helper.make_node("ReduceL2", ["sum", "one"], ["norm"], keepdims=1),
        helper.make_node("Div", ["sum", "norm"], ["vectors"]),
    ]
    constants = [
        numpy_helper.from_array(table, "table"),
        numpy_helper.from_array(np.array([2]), "last"),
        numpy_helper.from_array(np.array([1]), "middle"),
        numpy_helper.from_array(np.array([1]), "one"),
    ]
    graph = helper.make_graph(nodes, "tiny", [ids, mask], [out], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, folder / GRAPH)
    About("tiny", n_dimensions, max_tokens, "0" * 64, "tiny" + "0" * 60).write(folder)
    return folder


def training_rows() -> tuple[list[str], np.ndarray, list[int], list[str]]:
    """Texts, encoded section types, article lengths and article ids of the twelve paragraphs."""
    texts = [text for _, rows in ARTICLES for text, _ in rows]
    y = np.array([SECTION_TYPES.index(label) for _, rows in ARTICLES for _, label in rows])
    return texts, y, [len(rows) for _, rows in ARTICLES], [name for name, rows in ARTICLES for _ in rows]


def build_tagger(graph: Path, *, sentences: bool = True, tells_novelty: bool = False):
    """Train paragraph, sentence and TF-IDF views on the twelve paragraphs; returns (TrainResult, graph)."""
    from sklearn.linear_model import LogisticRegression

    from crosshead.encoders.graph import GraphEncoder
    from crosshead.tagging.decoding import DecoderSpec
    from crosshead.training.train import Paragraphs, train
    from crosshead.training.views import ViewSpec

    texts, y, lengths, ids = training_rows()
    specs = [
        ViewSpec("paragraph", "paragraph", LogisticRegression(C=10)),
        ViewSpec("tfidf", "tfidf", LogisticRegression(C=10), min_df=1),
    ]
    if sentences:
        specs.insert(1, ViewSpec("sentence", "sentence", LogisticRegression(C=10)))
    article = np.repeat(np.arange(len(lengths)), lengths)
    folds = [(np.flatnonzero(article != i), np.flatnonzero(article == i)) for i in range(len(lengths))]
    return train(
        Paragraphs(texts, y, lengths, ids),
        section_types=SECTION_TYPES,
        views=specs,
        encoder=GraphEncoder(graph),
        folds=folds,
        decoder=DecoderSpec(weight=0.3),
        calibrate=True,
        risk=0.9,  # twelve paragraphs promise nothing better
        tells_novelty=tells_novelty,
    )


def build_bundle(folder: Path, graph: Path) -> Path:
    """Save the tiny tagger as a bundle."""
    from crosshead import bundle

    result = build_tagger(graph)
    bundle.save(result.tagger, folder, encoder_dir=graph, estimators=result.estimators, about={"note": "tiny"})
    return folder


def digest(text: str) -> str:
    """Name a paragraph as annotations do."""
    from crosshead.text import text_digest

    return text_digest(text)
