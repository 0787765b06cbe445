"""The model-based family as the law tests try it: small, and in every variant."""

from __future__ import annotations

MODEL_OPTIONS = {
    "cnp": {"width": 8, "layers": 1},
    "anp": {"width": 8, "layers": 1, "heads": 2},
    "snail": {"keys": (4, 4), "values": (3, 4), "filters": 3, "length": 4},
    "set_transformer": {"width": 8, "depth": 2, "heads": 2},
    "meta_lstm_sequence": {"code": 6, "rank": 2},
}
MODEL_CASES = [
    ("cnp", "conv4", {"norm": "support"}),
    *[(name, "mlp", {}) for name in MODEL_OPTIONS],
    ("set_transformer", "mlp", {"labels": "simplex"}),
    ("meta_lstm_sequence", "conv4", {"generate": "full"}),
    ("meta_lstm_sequence", "lstm", {"generate": "scaling"}),
]
SEQUENTIAL = {"snail"}
"""Learners that read the support set as a sequence: its order matters."""
