"""The exception tree and its messages."""

from __future__ import annotations

import pytest

from metacortex import errors


def test_everything_descends_from_one_base() -> None:
    classes = [getattr(errors, name) for name in errors.__all__ if name.endswith("Error")]
    assert len(classes) == 7
    assert all(issubclass(c, errors.MetacortexError) for c in classes)
    assert all(c.__name__ in str(errors.__doc__) for c in classes)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("protonets", "unknown learner 'protonets': did you mean 'protonet'? (known: maml, protonet)"),
        ("xyz", "unknown learner 'xyz' (known: maml, protonet)"),
    ],
)
def test_unknown_names_are_answered_with_the_nearest(name: str, message: str) -> None:
    error = errors.unknown_name("learner", name, ["protonet", "maml"])
    assert isinstance(error, ValueError)
    assert str(error) == message


def test_a_missing_extra_names_itself() -> None:
    error = errors.MissingExtraError("the playground", "play")
    assert isinstance(error, ImportError)
    assert str(error) == "the playground needs an optional dependency: pip install 'metacortex[play]'"
