"""Which telephone numbers may an invented person have?

Only numbers that a regulator keeps free for drama, so that nobody can ever be rung by mistake:

- GB: Ofcom, "Telephone numbers for use in TV and radio drama programmes": 1,000 numbers in each of these area codes.
  The mobile range 07700 900xxx is left out, because phonenumbers 9 calls it possible but not valid.
- US, CA: NANPA and the Canadian numbering plan: 555-0100 to 555-0199 in every area code.
- DE: Bundesnetzagentur, Mitteilung 148/2021: 1,000 numbers in each of five area codes.
- FR: ARCEP, decision 2018-0881: 10,000 numbers in each of five regions.
- AU: ACMA, "Phone numbers for use in TV shows, films and creative works".
"""

from __future__ import annotations

import re

_GB = ("113496", "114496", "116496", "117496", "118496", "121496", "131496", "141496", "151496", "161496", "191498")
_US = """
    201 202 203 205 206 207 208 209 210 212 213 214 215 216 217 218 219 224 225 228 229 231 234 239 240 248
    251 252 253 254 256 260 262 267 269 270 301 302 303 304 305 307 308 309 310 312 313 314 315 316 317 318
    """.split()  # noqa: SIM905 - a list of quoted numbers reads worse
_CA = "204 250 306 403 416 418 450 506 514 519 604 613 705 709 780 807 819 902 905".split()  # noqa: SIM905
_DE = ("3023125", "6990009", "4066969", "2214710", "8999998")
_FR = ("19900", "26191", "35301", "46571", "53649")
_AU = ("25550", "27010", "35550", "37010", "75550", "77010", "85550", "87010")

# Country: (country code, the fixed digits of each range, the first free number, how many there are, free digits).
_RANGES: dict[str, tuple[str, tuple[str, ...], int, int, int]] = {
    "GB": ("+44", (*(p + "0" for p in _GB), "2079460", "2896496", "2920180"), 0, 1_000, 3),
    "US": ("+1", tuple(area + "555" for area in _US), 100, 100, 4),
    "CA": ("+1", tuple(area + "555" for area in _CA), 100, 100, 4),
    "DE": ("+49", _DE, 0, 1_000, 3),
    "FR": ("+33", _FR, 0, 10_000, 4),
    "AU": ("+61", _AU, 0, 10_000, 4),
}
_RESERVED = re.compile(
    "|".join(
        [
            rf"\+44(?:{'|'.join(p + '0' for p in _GB)}|2079460|2896496|2920180)\d{{3}}",
            r"\+447700900\d{3}",
            r"\+1[2-9]\d\d55501\d\d",
            rf"\+49(?:{'|'.join(_DE)})\d{{3}}",
            rf"\+33(?:{'|'.join(_FR)}|63998)\d{{4}}",
            rf"\+61(?:{'|'.join(_AU)})\d{{4}}",
        ]
    )
)


def capacity(country: str) -> int:
    """Count the reserved numbers of a country (ISO 3166 alpha-2); 0 where no regulator keeps any."""
    if country not in _RANGES:
        return 0
    _, prefixes, _, size, _ = _RANGES[country]
    return len(prefixes) * size


def reserved_phone(country: str, n: int) -> str:
    """Give the n-th reserved number of a country in E.164, spread over its area codes; empty beyond the last.

    Different n below `capacity(country)` give different numbers.
    """
    if not 0 <= n < capacity(country):
        return ""
    code, prefixes, first, size, digits = _RANGES[country]
    # 37 shares no divisor with any range size, so the walk through a range meets every number once.
    free = first + (n // len(prefixes) * 37) % size
    return f"{code}{prefixes[n % len(prefixes)]}{free:0{digits}d}"


def is_reserved_phone(number: str) -> bool:
    """Tell whether an E.164 number is one that nobody can have."""
    return _RESERVED.fullmatch(number) is not None


def national(number: str) -> str:
    """Write an E.164 number as people of its country do, with the trunk prefix and without the country code."""
    for country in _RANGES.values():
        code = country[0]
        if number.startswith(code):
            rest = number.removeprefix(code)
            return f"({rest[:3]}) {rest[3:6]}-{rest[6:]}" if code == "+1" else f"0{rest[:3]} {rest[3:6]} {rest[6:]}"
    return number
