"""Small sequence classifiers with random weights, on disk as people have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

LABELS = ("OK", "hate", "sexual", "violence", "self-harm")
TEXTS = (
    "How do I bake bread?",
    "I hate every one of them",
    "",
    "the quick brown fox jumps over the lazy dog " * 20,
    "Ünïcode 漢字 😀 \x00 end",
)
_WORDS = (
    "how do i bake bread hate every one of them the quick brown fox jumps over lazy dog".split()
)


def write_classifier(
    folder: Path, kind: Literal["bert", "distilbert"], *, is_multi_label: bool, seed: int = 0
) -> Path:
    """config.json, model.safetensors, tokenizer. vLLM's attention needs head_dim >= 32."""
    import torch
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        BertTokenizerFast,
        DistilBertConfig,
        DistilBertForSequenceClassification,
    )

    folder.mkdir(parents=True)
    letters = [chr(code) for code in range(97, 123)]
    pieces = [*letters, *(f"##{letter}" for letter in letters), *_WORDS]
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocab = [*specials, *dict.fromkeys([*pieces, *"?!.,"])]
    (folder / "vocab.txt").write_text("\n".join(vocab) + "\n")
    shared: dict[str, Any] = {
        "vocab_size": len(vocab),
        "max_position_embeddings": 64,
        "id2label": dict(enumerate(LABELS)),
        "label2id": {label: i for i, label in enumerate(LABELS)},
    }
    if is_multi_label:
        shared["problem_type"] = "multi_label_classification"
    torch.manual_seed(seed)
    model: Any
    if kind == "bert":
        config = BertConfig(
            hidden_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=128,
            initializer_range=0.15,  # else all texts score alike
            **shared,
        )
        model = BertForSequenceClassification(config)
    else:
        model = DistilBertForSequenceClassification(
            DistilBertConfig(
                dim=64, n_layers=2, n_heads=2, hidden_dim=128, initializer_range=0.15, **shared
            )
        )
    model.save_pretrained(folder)
    tokenizer = BertTokenizerFast(vocab=str(folder / "vocab.txt"), model_max_length=64)
    tokenizer.save_pretrained(folder)
    return folder


def reference(folder: Path, text: str) -> dict[str, float]:
    """What transformers itself makes of the beginning of a text: label -> probability."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    encoded = tokenizer(text, truncation=True, max_length=64, return_tensors="pt")
    with torch.inference_mode():
        logits = model(**encoded).logits[0].double()
    is_multi = model.config.problem_type == "multi_label_classification"
    probs = logits.sigmoid() if is_multi else logits.softmax(-1)
    return dict(zip(LABELS, probs.tolist(), strict=True))
