"""Which phrases the phrasebook has: numbers, dates, measures … each named by what it says, in no language yet."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["GROUPS", "Phrase", "phrases", "split_of"]

GROUPS = ("names", "calendar", "time", "measures", "money", "numbers", "lists")
"""The kinds of phrases."""

Meaning = tuple[Any, ...]
"""What a phrase says: a verb of `metacortex.data.text.phrase_writer.Writer` and its arguments."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_UNITS = _words(
    "length-kilometer length-meter length-centimeter length-mile mass-kilogram mass-gram mass-metric-ton "
    "volume-liter volume-cup duration-second duration-minute duration-hour duration-day duration-week duration-month "
    "duration-year temperature-celsius area-hectare area-square-kilometer area-square-meter digital-gigabyte "
    "power-kilowatt energy-kilocalorie speed-kilometer-per-hour speed-meter-per-second"
)
_FIELDS = ("second", "minute", "hour", "day", "week", "month", "year")
_MONEY = _words(
    "AUD BRL CAD CHF CNY CZK DKK EGP EUR GBP HUF IDR ILS INR ISK JPY KRW MXN NOK NZD PLN RON RUB SEK THB TRY UAH USD "
    "VND ZAR"
)
_LANGUAGES = _words(
    "af am ar az be bg bn bs ca cs cy da de el en eo es et eu fa fi fil fr ga gl gu he hi hr hu hy id is it ja ka kk "
    "km kn ko ky la lo lt lv mk ml mn mr ms mt my nb ne nl pa pl ps pt ro ru sa si sk sl so sq sr sv sw ta te th tr "
    "uk ur uz vi yi zh zu"
)
_TERRITORIES = _words(
    "AD AE AF AL AM AO AR AT AU AZ BA BB BD BE BF BG BH BI BJ BN BO BR BS BT BW BY BZ CA CD CF CH CI CL CM CN CO CR "
    "CU CV CY CZ DE DJ DK DM DO DZ EC EE EG ER ES ET FI FJ FR GA GB GD GE GH GM GN GQ GR GT GY HN HR HT HU ID IE IL "
    "IN IQ IR IS IT JM JO JP KE KG KH KM KP KR KW KZ LA LB LI LK LR LS LT LU LV LY MA MC MD ME MG MK ML MM MN MR MT "
    "MU MV MW MX MY MZ NA NE NG NI NL NO NP NZ OM PA PE PG PH PK PL PT PY QA RO RS RU RW SA SB SC SD SE SG SI SK SL "
    "SM SN SO SR SY TD TG TH TJ TM TN TO TR TT TW TZ UA UG US UY UZ VA VE VN VU WS YE ZA ZM ZW"
)


@dataclass(frozen=True)
class Phrase:
    """A phrase: a unique name, its kind (one of `GROUPS`), and what it says."""

    name: str
    group: str
    meaning: Meaning


def phrases() -> list[Phrase]:
    """All phrases, sorted by kind and, within it, in the order they are made; always the same ones."""
    makers: tuple[tuple[str, Callable[[], Iterator[Meaning]]], ...] = (
        ("names", _names),
        ("calendar", _calendar),
        ("time", _time),
        ("measures", _measures),
        ("money", _amounts),
        ("numbers", _numbers),
        ("lists", _lists),
    )
    found = {_name(meaning): Phrase(_name(meaning), group, meaning) for group, make in makers for meaning in make()}
    return list(found.values())


def split_of(phrase: Phrase) -> str:
    """The split of a phrase: names and the smallest numbers train, of the others 8 % validate and 12 % test.

    Held-out phrases are made of parts that training shows in other combinations: a name on its own could not be
    known by a learner that never saw it.
    """
    verb, first = phrase.meaning[:2]
    spoken = verb in ("cardinal", "ordinal")
    if phrase.group == "names" or (spoken and first <= 20):
        return "train"
    # some languages say twenty-two and twenty-second alike
    name = f"number/{first}" if spoken else phrase.name
    place = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little") % 100
    return "val" if place < 8 else "test" if place < 20 else "train"


class _Dice:
    """Choices that a hash makes: the same in every version of everything."""

    def __init__(self, name: str) -> None:
        self._name, self._count = name, 0

    def below(self, limit: int) -> int:
        self._count += 1
        digest = hashlib.sha256(f"{self._name}/{self._count}".encode()).digest()
        return int.from_bytes(digest[:8], "little") % limit

    def one(self, items: Sequence[Any]) -> Any:
        return items[self.below(len(items))]

    def amount(self) -> int:
        """Small numbers more often than large ones, as in speech."""
        return self.one((1 + self.below(12), 1 + self.below(30), 1 + self.below(100)))

    def date(self) -> datetime.date:
        return datetime.date(1960 + self.below(75), 1 + self.below(12), 1 + self.below(28))


def _name(meaning: Meaning) -> str:
    return "/".join(
        "+".join(_name(part) for part in item) if isinstance(item, tuple) else str(item) for item in meaning
    )


def _names() -> Iterator[Meaning]:
    for kind, codes in (("territories", _TERRITORIES), ("languages", _LANGUAGES), ("currency_names", _MONEY)):
        yield from (("named", kind, code) for code in codes)
    yield from (("month", number) for number in range(1, 13))
    yield from (("weekday", number) for number in range(7))


def _calendar() -> Iterator[Meaning]:
    for form, count in (("long", 350), ("full", 300), ("MMMMd", 150), ("yMMMM", 150)):
        dice = _Dice(form)
        for _ in range(count):
            date = dice.date()
            # what the form does not say is fixed, or two phrases would read the same, one to train on, one to test
            if form == "MMMMd":
                date = date.replace(year=2024)
            yield "date", form, date.replace(day=1) if form == "yMMMM" else date


def _time() -> Iterator[Meaning]:
    dice = _Dice("time")
    for _ in range(600):
        yield "relative", dice.one(_FIELDS), dice.one(("future", "past")), dice.amount()


def _measures() -> Iterator[Meaning]:
    dice = _Dice("measures")
    for _ in range(650):
        yield "measure", dice.one(_UNITS), dice.amount()


def _amounts() -> Iterator[Meaning]:
    dice = _Dice("money")
    for _ in range(400):
        yield "money", dice.one(_MONEY), dice.one((1, 10, 100)) * dice.amount()


def _numbers() -> Iterator[Meaning]:
    dice = _Dice("numbers")
    yield from (("cardinal", n) for n in range(101))
    yield from (("cardinal", n) for n in range(200, 1001, 100))
    yield from (("cardinal", dice.below(1000)) for _ in range(250))
    yield from (("cardinal", dice.below(10_000)) for _ in range(250))
    yield from (("ordinal", n) for n in range(1, 101))


def _lists() -> Iterator[Meaning]:
    dice = _Dice("lists")
    parts: tuple[Callable[[], Meaning], ...] = (
        lambda: ("named", "territories", dice.one(_TERRITORIES)),
        lambda: ("named", "languages", dice.one(_LANGUAGES)),
        lambda: ("weekday", dice.below(7)),
        lambda: ("month", 1 + dice.below(12)),
        lambda: ("measure", dice.one(_UNITS), dice.amount()),
        lambda: ("money", dice.one(_MONEY), dice.amount()),
        lambda: ("cardinal", dice.below(100)),
    )
    for _ in range(900):
        part, style = dice.one(parts), dice.one(("standard", "standard", "or"))
        yield "listed", style, tuple(part() for _ in range(dice.one((2, 2, 3))))
