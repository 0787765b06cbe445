"""English names of languages, for descriptions of tasks."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["FAMILIES", "NAMES", "name_languages"]

NAMES = {
    "af": "Afrikaans",
    "ar": "Arabic",
    "az": "Azerbaijani",
    "be": "Belarusian",
    "bg": "Bulgarian",
    "bn": "Bangla",
    "ca": "Catalan",
    "cs": "Czech",
    "cy": "Welsh",
    "da": "Danish",
    "de": "German",
    "el": "Greek",
    "en": "English",
    "es": "Spanish",
    "et": "Estonian",
    "eu": "Basque",
    "fa": "Persian",
    "fi": "Finnish",
    "fr": "French",
    "ga": "Irish",
    "gl": "Galician",
    "he": "Hebrew",
    "hi": "Hindi",
    "hr": "Croatian",
    "hu": "Hungarian",
    "hy": "Armenian",
    "id": "Indonesian",
    "is": "Icelandic",
    "it": "Italian",
    "ja": "Japanese",
    "ka": "Georgian",
    "kk": "Kazakh",
    "ko": "Korean",
    "lt": "Lithuanian",
    "lv": "Latvian",
    "mk": "Macedonian",
    "mn": "Mongolian",
    "ms": "Malay",
    "mt": "Maltese",
    "nb": "Norwegian Bokmål",
    "ne": "Nepali",
    "nl": "Dutch",
    "no": "Norwegian",
    "pl": "Polish",
    "pt": "Portuguese",
    "ro": "Romanian",
    "ru": "Russian",
    "sk": "Slovak",
    "sl": "Slovenian",
    "sq": "Albanian",
    "sr": "Serbian",
    "sv": "Swedish",
    "sw": "Swahili",
    "ta": "Tamil",
    "te": "Telugu",
    "th": "Thai",
    "tr": "Turkish",
    "uk": "Ukrainian",
    "ur": "Urdu",
    "uz": "Uzbek",
    "vi": "Vietnamese",
    "zh": "Chinese",
}
"""Code (ISO 639) -> English name, as CLDR has it."""

FAMILIES = {
    code: family
    for family, codes in {
        "Romance": "ca es fr gl it pt ro",
        "Germanic": "af da de en is nb nl no sv",
        "Slavic": "be bg cs hr mk pl ru sk sl sr uk",
        "Baltic": "lt lv",
        "Finnic": "et fi",
        "Turkic": "az kk tr uz",
        "Celtic": "cy ga",
        "Indo-Iranian": "bn fa hi ne ur",
        "Malayic": "id ms",
    }.items()
    for code in codes.split()
}
"""Code -> branch of the family tree of languages, where another language here is on the same one."""


def name_languages(codes: Iterable[str]) -> dict[str, str]:
    """Code -> English name, in the order given; a code without a known name is its own.

    Example:
        >>> name_languages(["fr", "tlh"])
        {'fr': 'French', 'tlh': 'tlh'}
    """
    return {code: NAMES.get(code, code) for code in codes}
