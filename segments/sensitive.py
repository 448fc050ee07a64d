"""Which words of a segment's name or description tell a special category of personal data (GDPR Art. 9(1))?

Being in a segment called `diabetic_shoppers` says something about somebody's health, whatever the rule reads. Words
are English, compared whole and in lower case; a word that ends with `*` stands for all that begin with it. What means
another thing more often (race, union, black) is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

TRAITS: Mapping[str, tuple[str, ...]] = {
    "racial or ethnic origin": ("racial*", "ethnic*", "caucasian*", "hispanic*", "latino*", "latina*"),
    "political opinions": ("politic*", "voter*", "democrat*", "republican*", "socialist*", "communist*", "left wing"),
    "religious or philosophical beliefs": (
        *("religio*", "christian*", "catholic*", "protestant*", "muslim*", "islam*", "jewish", "jews", "hindu*"),
        *("buddhis*", "sikh*", "atheis*", "ramadan", "kosher", "halal"),
    ),
    "trade union membership": ("trade union*", "tradeunion*", "union member*"),
    "genetic data": ("genetic*", "genom*", "dna"),
    "biometric data": ("biometric*", "faceprint*", "voiceprint*", "iris scan*"),
    "health": (
        *("health", "illness*", "disease*", "diabet*", "insulin", "cancer*", "oncolog*", "hiv", "asthma*", "allerg*"),
        *("depressi*", "anxiety", "psychiatr*", "autis*", "adhd", "dement*", "alzheimer*", "pregnan*", "fertility"),
        *("infertil*", "menopaus*", "disab*", "obes*", "addict*", "alcoholi*", "medical*", "medication*", "patient*"),
        *("prescription*", "therap*"),
    ),
    "sex life or sexual orientation": (
        "sexual*",
        "homosexual*",
        "bisexual*",
        "gay",
        "lesbian*",
        "lgbt*",
        "transgender*",
    ),
}
_PATTERNS = {
    trait: re.compile(r"\b(?:" + "|".join(word.replace("*", r"\w*") for word in words) + r")\b")
    for trait, words in TRAITS.items()
}


def traits_in(text: str) -> Iterator[tuple[str, str]]:
    """Yield the first word that tells of each trait, with the trait. text: a name or a sentence."""
    words = re.sub(r"[\W_]+", " ", text.lower())
    for trait, pattern in _PATTERNS.items():
        if found := pattern.search(words):
            yield found.group(), trait
