"""Settings dataclasses as data: typed values from TOML or text, with errors that say what would do.

A settings class is a frozen dataclass whose fields may carry, in their ``metadata``, the allowed
range: ``min``, ``max`` (inclusive), ``above`` (exclusive minimum), ``choices`` and ``help``. What has no
``help`` is described in the section ``Attributes`` of the docstring.
"""

from __future__ import annotations

import inspect
import math
import re
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from metacortex.errors import SettingsError, unknown_name

__all__ = [
    "Described",
    "build",
    "check_keys",
    "convert",
    "describe_fields",
    "describe_type",
    "option",
    "parse_text",
    "to_toml_value",
]

_TRUE = ("true", "yes", "on", "1")
_FALSE = ("false", "no", "off", "0")


def option(
    default: Any,
    help: str,
    *,
    min: float | None = None,
    max: float | None = None,
    above: float | None = None,
    choices: Sequence[Any] | None = None,
) -> Any:
    """A dataclass field with a default, a line of help and an allowed range.

    Args:
        default: the default value.
        help: one line for `describe_fields`.
        min: smallest allowed number.
        max: largest allowed number.
        above: every allowed number is larger than this.
        choices: the allowed values.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Section:
        ...     way: int = option(5, "classes per task", min=1)
        >>> print(build(Section, {"way": 0}, "data"))
        Traceback (most recent call last):
            ...
        metacortex.errors.SettingsError: data.way: expected a whole number, at least 1, got 0
    """
    limits = {"min": min, "max": max, "above": above, "choices": choices, "help": help}
    return field(default=default, metadata={k: v for k, v in limits.items() if v is not None})


def build(cls: type, values: Mapping[str, Any], section: str) -> Any:
    """Make a settings object from plain values, checking every key, type and range.

    Args:
        cls: a settings dataclass.
        values: field name -> value; what is left out takes its default.
        section: prefix of the names in messages, e.g. ``"training"``.

    Raises:
        SettingsError: naming the key, what was expected and what came.
    """
    check_keys(section, values, [f.name for f in fields(cls) if f.init])
    hints = get_type_hints(cls)
    by_name = {f.name: f for f in fields(cls)}
    done = {key: _checked(f"{section}.{key}", by_name[key], hints[key], value) for key, value in values.items()}
    for name, f in by_name.items():
        if f.init and name not in done and f.default is MISSING and f.default_factory is MISSING:
            raise SettingsError(f"{section}.{name} is missing: expected {_expected(f, hints[name])}")
    try:
        return cls(**done)
    except SettingsError:
        raise
    except (TypeError, ValueError) as error:
        raise SettingsError(f"{section}: {error}") from error


def check_keys(section: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Refuse a key that the section does not have, naming the nearest one that it has."""
    known = list(known)
    for key in given:
        if key not in known:
            if not known:
                raise SettingsError(f"unknown setting '{section}.{key}': [{section}] takes no options here")
            raise unknown_name(f"setting in [{section}]", key, known)


def convert(value: Any, hint: Any) -> Any:
    """Turn a TOML value into the annotated type, without guessing.

    Whole floats become ints for ``int``, ints become floats for ``float``, lists become tuples.

    Raises:
        ValueError: when the value is of another type.
    """
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _convert_union(value, args)
    if origin is Literal:
        if value not in args:
            raise ValueError(value)
        return value
    if hint is type(None):
        if value is None:
            return None
        raise ValueError(value)
    if hint is tuple or origin in (tuple, list, Sequence):
        return _convert_items(value, origin, args)
    return _convert_scalar(value, hint)


def _convert_union(value: Any, args: tuple[Any, ...]) -> Any:
    for arg in sorted(args, key=lambda a: a is not type(value)):
        try:
            return convert(value, arg)
        except ValueError:
            continue
    raise ValueError(value)


def _convert_items(value: Any, origin: Any, args: tuple[Any, ...]) -> Any:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ValueError(value)
    if not args or Ellipsis in args or origin is not tuple:
        item = args[0] if args else Any
        done = [convert(v, item) for v in value]
    elif len(args) != len(value):
        raise ValueError(value)
    else:
        done = [convert(v, a) for v, a in zip(value, args, strict=True)]
    return done if origin is list else tuple(done)


def _convert_scalar(value: Any, hint: Any) -> Any:
    if hint is bool and isinstance(value, bool):
        return bool(value)
    if hint is int and isinstance(value, int | float) and not isinstance(value, bool) and value == int(value):
        return int(value)
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    if hint is str and isinstance(value, str):
        return str(value)
    raise ValueError(value)


def parse_text(text: str, hint: Any) -> Any:
    """Read a value written on the command line; the annotated type decides how.

    Tuples are written with commas (``train,val``), with brackets around them or without; an empty text is
    the empty tuple; ``none`` stands for ``None`` where the type allows it.

    Raises:
        ValueError: when the text is no such value.

    Example:
        >>> parse_text("train,val", tuple[str, ...]), parse_text("[64, 96]", tuple[int, ...]), parse_text("off", bool)
        (('train', 'val'), (64, 96), False)
    """
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if type(None) in args and text.lower() == "none":
            return None
        kinds = sorted((a for a in args if a is not type(None)), key=lambda a: a is str)
        return _first_parse(text, kinds)
    if origin is Literal:
        return _first_parse_literal(text, args)
    if hint is tuple or origin in (tuple, list, Sequence):
        text = text.strip()
        text = text[1:-1] if text.startswith("[") and text.endswith("]") else text
        parts = [p.strip() for p in text.split(",")] if text.strip() else []
        item = args[0] if args else str
        return convert([parse_text(p, item) for p in parts], hint)
    if hint is bool:
        if text.lower() not in (*_TRUE, *_FALSE):
            raise ValueError(text)
        return text.lower() in _TRUE
    if hint is int:
        return convert(float(text) if "e" in text.lower() or "." in text else int(text.replace("_", "")), int)
    if hint is float:
        return convert(float(text), float)
    return text


def _first_parse(text: str, kinds: Sequence[Any]) -> Any:
    for kind in kinds:
        try:
            return parse_text(text, kind)
        except ValueError:
            continue
    raise ValueError(text)


def _first_parse_literal(text: str, allowed: Sequence[Any]) -> Any:
    for value in allowed:
        if str(value) == text:
            return value
    raise ValueError(text)


def describe_type(hint: Any) -> str:
    """The type in words, for messages."""
    names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", type(None): "none"}
    if hint in names:
        return names[hint]
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(describe_type(a) for a in args)
    if origin is Literal:
        return "one of " + ", ".join(repr(a) for a in args)
    if origin in (tuple, list, Sequence):
        return "a list"
    return str(hint)


@dataclass(frozen=True)
class Described:
    """A field of a settings class in words.

    Attributes:
        name: the key.
        default: its default as TOML holds it.
        expected: the values that it may have.
        meaning: one line; empty where nothing is written about it.
    """

    name: str
    default: Any
    expected: str
    meaning: str


def describe_fields(cls: type) -> list[Described]:
    """Name, default, allowed values and meaning of every field of a settings class that has a default.

    Example:
        >>> @dataclass(frozen=True)
        ... class Section:
        ...     way: int = option(5, "classes per task", min=1)
        >>> describe_fields(Section)
        [Described(name='way', default=5, expected='a whole number, at least 1', meaning='classes per task')]
    """
    hints, written = get_type_hints(cls), _attributes(cls)
    defaults = cls()
    return [
        Described(
            f.name,
            to_toml_value(getattr(defaults, f.name)),
            _expected(f, hints[f.name]),
            f.metadata.get("help") or written.get(f.name, ""),
        )
        for f in fields(cls)
        if f.init
    ]


def _attributes(cls: type) -> dict[str, str]:
    """The lines of the sections ``Attributes`` in the docstrings of a class and those that it is made from."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        section = re.search(r"^Attributes:\n((?:    .*\n?|\n)+)", inspect.cleandoc(base.__doc__ or ""), re.MULTILINE)
        for name, text in re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", section[1] if section else "", re.MULTILINE):
            line = " ".join(text.replace("``", "").split()).removesuffix(".")
            # References lead nowhere outside of the documentation.
            found[name] = re.sub(r",? see `[^`]*`", "", line).replace("`", "")
    return found


def to_toml_value(value: Any) -> Any:
    """A value as TOML holds it: tuples become lists."""
    return [to_toml_value(v) for v in value] if isinstance(value, tuple | list) else value


def _checked(key: str, f: Field[Any], hint: Any, value: Any) -> Any:
    try:
        done = convert(value, hint)
    except (ValueError, OverflowError):
        choices = f.metadata.get("choices") or (get_args(hint) if get_origin(hint) is Literal else None)
        if choices and isinstance(value, str):
            raise unknown_name(f"value for {key}", value, [str(c) for c in choices]) from None
        raise SettingsError(f"{key}: expected {_expected(f, hint)}, got {value!r}") from None
    choices = f.metadata.get("choices")
    if choices is not None and done is not None:
        for item in done if isinstance(done, tuple) else (done,):
            if item not in choices:
                raise unknown_name(f"value for {key}", str(item), [str(c) for c in choices])
    if isinstance(done, int | float) and not isinstance(done, bool) and not _in_range(f, done):
        raise SettingsError(f"{key}: expected {_expected(f, hint)}, got {value!r}")
    return done


def _in_range(f: Field[Any], value: float) -> bool:
    low, high, above = (f.metadata.get(k) for k in ("min", "max", "above"))
    return (low is None or value >= low) and (high is None or value <= high) and (above is None or value > above)


def _expected(f: Field[Any], hint: Any) -> str:
    words = [describe_type(hint)]
    for key, text in (("min", "at least"), ("above", "more than"), ("max", "at most")):
        if key in f.metadata:
            words.append(f"{text} {f.metadata[key]}")
    if "choices" in f.metadata:
        words.append("one of " + ", ".join(repr(choice) for choice in f.metadata["choices"]))
    return ", ".join(words)
