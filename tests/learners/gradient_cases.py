"""How the learners of the gradient family are held to the laws."""

from __future__ import annotations

from typing import Any

__all__ = ["APPROXIMATE", "GRADIENT_CASES", "GRADIENT_OPTIONS"]

GRADIENT_OPTIONS: dict[str, dict[str, Any]] = {
    "fomaml": {"inner_lr": 0.1, "inner_steps": 2},
    "reptile": {"inner_lr": 0.05, "inner_steps": 3, "eval_steps": 3, "batch_size": 4},
    "anil": {"inner_lr": 0.1, "inner_steps": 3},
    "boil": {"inner_lr": 0.1, "inner_steps": 2},
    "meta_sgd": {"inner_lr": 0.1},
    "meta_curvature": {"inner_lr": 0.1},
    "maml_pp": {"inner_lr": 0.1, "inner_steps": 3},
    "cavia": {"context_size": 6},
    "imaml": {"inner_lr": 0.1, "inner_steps": 3},
    "proto_maml": {"inner_steps": 2},
    "lstm_optimizer": {"inner_steps": 2, "hidden": 3, "order": 2},
}
"""Settings that keep the law tests small."""

GRADIENT_CASES: list[tuple[str, str, dict[str, Any]]] = [
    *[(name, "mlp", {}) for name in GRADIENT_OPTIONS],
    ("maml_pp", "mlp", {"first_order_until": 10, "multi_step_until": 0}),
]
"""Learner, backbone, settings."""

APPROXIMATE = {"fomaml", "reptile", "imaml"}
"""Learners whose outer gradient is meant to be another one than that of their loss."""
