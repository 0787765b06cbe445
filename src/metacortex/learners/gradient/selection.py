"""Which parameters of a base model become fast weights."""

from __future__ import annotations

from torch import nn

from metacortex.errors import LearnerError, SettingsError

__all__ = ["SELECTIONS", "head_of", "select"]

SELECTIONS = ("all", "body", "head")


def select(model: nn.Module, what: str) -> tuple[str, ...]:
    """Names of the parameters to adapt.

    Args:
        model: the base model. Its head is the submodule ``head`` if it has one, else the last
            module with parameters of its own.
        what: ``"all"`` (MAML), ``"head"`` (ANIL: Raghu et al. 2020) or ``"body"``, everything but the
            head (BOIL: Oh et al. 2021).

    Raises:
        SettingsError: for another word.
        LearnerError: if nothing is left to adapt.
    """
    if what not in SELECTIONS:
        raise SettingsError(f"unknown selection '{what}' of what to adapt: expected one of {', '.join(SELECTIONS)}")
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    if what != "all":
        head = head_of(model)
        inside = {name for name in names if name == head or name.startswith(head + ".")}
        names = [name for name in names if (name in inside) == (what == "head")]
    if not names:
        raise LearnerError(f"adapt='{what}' leaves no parameter to adapt in {type(model).__name__}")
    return tuple(names)


def head_of(model: nn.Module) -> str:
    """Name of a model's head: the submodule ``head`` if it has one, else the last with parameters of its own."""
    if isinstance(getattr(model, "head", None), nn.Module):
        return "head"
    owners = [name for name, module in model.named_modules() if any(True for _ in module.parameters(recurse=False))]
    return owners[-1] if owners else ""
