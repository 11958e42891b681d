"""A real small transformer: three BERT layers of random weights with their tokenizer, for sentence-transformers."""

from __future__ import annotations

from pathlib import Path

import tiny

N_LAYERS, N_HIDDEN = 3, 32


def build(folder: Path) -> Path:
    """Write the model; its words are those of the tiny articles."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    texts = [text.lower() for _, rows in tiny.ARTICLES for text, _ in rows]
    words = sorted({word.strip(".,'") for text in texts for word in text.split()})
    parts = folder.parent / f"{folder.name}-parts"
    parts.mkdir(parents=True)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    # By a mapping: transformers 5.0 would hand a file on in a way that tokenizers 0.22 warns of.
    BertTokenizerFast({word: number for number, word in enumerate(vocabulary)}).save_pretrained(parts / "bert")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=N_HIDDEN,
        num_hidden_layers=N_LAYERS,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=256,
    )
    BertModel(config).save_pretrained(parts / "bert")
    transformer = Transformer(str(parts / "bert"), max_seq_length=64)
    SentenceTransformer(modules=[transformer, Pooling(N_HIDDEN), Normalize()], device="cpu").save(
        str(folder), create_model_card=False
    )
    return folder
