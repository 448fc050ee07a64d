"""Names that nobody was asked for: people, streets and towns put together from syllables."""

from __future__ import annotations

from collections.abc import Sequence

# Words in one text read better than a hundred quotes and commas.
_GIVEN_HEADS = """
    Al An Be Bri Ca Cor Da Do El Em Fa Fi Ga Gre Ha Il Jo Ju Ka Li Lu Ma Mi Ne No O Pa Qui Ra Ro Sa Si Te Ti U Va
    Wi Xa Yo Ze
    """.split()  # noqa: SIM905
_GIVEN_MIDDLES = "br d dr th f g l m n ph r s t v w nd rt lm st ck".split()  # noqa: SIM905
_GIVEN_TAILS = "a o in us elle ard ine olf ette ory ian eth is ona emar uld iva ax yn ebor".split()  # noqa: SIM905
_FAMILY_HEADS = """
    Alder Ambler Bram Brix Cald Corn Dun Elder Fen Garth Had Hol Ink Jas Kel Lang Mar Nor Oak Pen Quil Rad Sel Tam
    Ul Ver Wex Yar Zell Ash Birch Crow Drake East Frost Gold Haze Iron Jet Kings Lock
    """.split()  # noqa: SIM905
_FAMILY_TAILS = """
    bank beck brook by combe cott dale den feld ford gate ham hurst keld lake ley low mere mond more nold pool
    rick sted stone stow strand thorp ton vale vik wald wick win wold worth yard
    """.split()  # noqa: SIM905
_ROADS = ("Street", "Road", "Lane", "Avenue", "Close", "Hill", "Way")


def _joined(heads: Sequence[str], tails: Sequence[str]) -> tuple[str, ...]:
    """Join heads and tails, the pairs spread so that neighbours in the list differ in both."""
    pairs = len(heads) * len(tails)
    step = next(n for n in range(pairs // 3 + 1, pairs) if _coprime(n, pairs))
    return tuple(heads[k % len(heads)] + tails[k // len(heads)] for k in (n * step % pairs for n in range(pairs)))


def _coprime(one: int, other: int) -> bool:
    while other:
        one, other = other, one % other
    return one == 1


GIVEN = _joined(_joined(_GIVEN_HEADS, _GIVEN_MIDDLES), _GIVEN_TAILS)[:900]
FAMILY = _joined(_FAMILY_HEADS, _FAMILY_TAILS)
STREETS = tuple(f"{name} {road}" for name in FAMILY for road in _ROADS)
CITIES = tuple(name + "bury" for name in _FAMILY_HEADS)
