"""Phrases in a language, by its own data in CLDR; what CLDR lacks for a language is left out, never borrowed."""

from __future__ import annotations

import datetime
import functools
import pickle
from collections.abc import Mapping
from typing import Any

from metacortex.data.text.lines import clean
from metacortex.data.text.phrase_list import Meaning
from metacortex.errors import MissingExtraError, SettingsError

__all__ = ["Writer", "versions"]

_SPOKEN = {"kk": "kz"}
"""Languages that num2words knows by another code."""

_OTHER_SCRIPT = frozenset({"sr"})
"""Languages that num2words writes in another script than CLDR."""


def versions() -> dict[str, str]:
    """Versions of the packages that the phrases come from.

    Raises:
        MissingExtraError: if one of them is not installed.
    """
    babel, num2words = _packages()
    return {"babel": babel.__version__, "num2words": getattr(num2words, "__version__", "") or _installed("num2words")}


class Writer:
    """Says phrases in one language.

    A part of a phrase that the language's own file of CLDR does not have (because it falls back to the root or to
    another language there) makes the phrase unsayable: `say` gives ``""``.

    Args:
        code: a language of CLDR, e.g. ``"fr"``.

    Raises:
        SettingsError: for a language that CLDR does not know.
        MissingExtraError: if Babel or num2words is not installed.
    """

    def __init__(self, code: str) -> None:
        babel, self._spoken = _packages()
        from babel import localedata

        if not localedata.exists(code):
            raise SettingsError(f"language '{code}': CLDR has no data of it; expected a code like fr or pt")
        self._dates = babel.dates
        self._locale = babel.Locale.parse(code)
        self._all = localedata.load(code)
        # not load(code, merge_inherited=False): that leaves what it finds in the cache that everybody's locales use
        with open(localedata.resolve_locale_filename(code), "rb") as file:
            self._own = pickle.load(file)
        number = _SPOKEN.get(code, code)
        known = number in self._spoken.CONVERTER_CLASSES and code not in _OTHER_SCRIPT
        self._number_code = number if known else None

    def say(self, meaning: Meaning) -> str:
        """The phrase in this language, cleaned; ``""`` where the language lacks a part of it."""
        verb, *arguments = meaning
        text = getattr(self, f"_{verb}")(*arguments)
        return "" if text is None or "\u2191" in text else clean(text)  # CLDR marks what is inherited by arrows

    def _has(self, *path: Any) -> Any:
        """The language's own entry, or ``None``."""
        found: Any = self._own
        for key in path:
            if not isinstance(found, Mapping) or key not in found:  # what is no mapping points to other data
                return None
            found = found[key]
        return found

    def _joint(self, *path: Any) -> dict[str, str]:
        """Patterns that join parts; those without a letter ("{0}, {1}") may be borrowed, as they belong to nobody."""
        own, found = self._has(*path) or {}, self._all
        for key in path:
            found = found.get(key, {})
        forms = {*own, *found}
        texts = {form: own[form] if form in own else found[form] for form in forms}
        return {form: text for form, text in texts.items() if form in own or not any(map(str.isalpha, text))}

    def _named(self, kind: str, code: str) -> str | None:
        name = self._has(kind, code)
        return None if name == code else name

    def _month(self, number: int) -> str | None:
        return self._has("months", "stand-alone", "wide", number) or self._has("months", "format", "wide", number)

    def _weekday(self, number: int) -> str | None:
        return self._has("days", "stand-alone", "wide", number) or self._has("days", "format", "wide", number)

    def _date(self, form: str, date: datetime.date) -> str | None:
        if not self._says_dates(form):
            return None
        if form in ("long", "full"):
            return self._dates.format_date(date, form, locale=self._locale)
        return self._dates.format_skeleton(form, date, locale=self._locale)

    @functools.lru_cache(maxsize=8)  # noqa: B019  (a writer lives as long as its language is being written)
    def _says_dates(self, form: str) -> bool:
        names = self._has("months", "format", "wide") is not None and len(self._has("months", "format", "wide")) == 12
        if form == "full":
            names = names and self._has("days", "format", "wide") is not None
        pattern = ("date_formats", form) if form in ("long", "full") else ("datetime_skeletons", form)
        return names and self._has(*pattern) is not None

    def _relative(self, field: str, direction: str, count: int) -> str | None:
        return self._counted(self._has("date_fields", field, direction), count)

    def _measure(self, unit: str, count: int) -> str | None:
        return self._counted(self._has("unit_patterns", unit, "long"), count)

    def _money(self, currency: str, count: int) -> str | None:
        name = self._form(self._has("currency_names_plural", currency), count)
        pattern = self._form(self._joint("currency_unit_patterns"), count)
        return None if name is None or pattern is None else _fill(pattern, str(count), name)

    def _cardinal(self, number: int) -> str | None:
        return self._number(number, "cardinal")

    def _ordinal(self, number: int) -> str | None:
        return self._number(number, "ordinal")

    def _listed(self, style: str, items: tuple[Meaning, ...]) -> str | None:
        words = [self.say(item) for item in items]
        patterns = self._joint("list_patterns", style)
        if not all(words):
            return None
        if len(words) == 2 and "2" in patterns:
            return _fill(patterns["2"], *words)
        if not {"start", "middle", "end"} <= patterns.keys():
            return None
        text = _fill(patterns["end"], *words[-2:])
        for i in range(len(words) - 3, -1, -1):
            text = _fill(patterns["start" if i == 0 else "middle"], words[i], text)
        return text

    def _counted(self, patterns: Any, count: int) -> str | None:
        pattern = self._form(patterns, count)
        return None if pattern is None else _fill(pattern, str(count))

    def _form(self, forms: Any, count: int) -> str | None:
        """The form of the plural that goes with a number."""
        return None if forms is None else forms.get(self._locale.plural_form(count), forms.get("other"))

    def _number(self, number: int, kind: str) -> str | None:
        if self._number_code is None:
            return None
        try:
            text = self._spoken.num2words(number, lang=self._number_code, to=kind)
        except Exception:  # a language that has no words for it raises whatever its module came across
            return None
        return None if any(c.isdigit() for c in text) else text


def _fill(pattern: str, *parts: str) -> str:
    for i, part in enumerate(parts):
        pattern = pattern.replace(f"{{{i}}}", part)
    return pattern


def _packages() -> tuple[Any, Any]:
    try:
        import babel
        import babel.dates
        import num2words
    except ImportError:
        raise MissingExtraError("the phrasebook", "phrasebook") from None
    return babel, num2words


def _installed(package: str) -> str:
    from importlib.metadata import version

    return version(package)
