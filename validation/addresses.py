"""Read e-mail addresses, phone numbers and countries; nothing is guessed."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, Final

import phonenumbers
import polars as pl
from email_validator import EmailNotValidError, validate_email

# The plain form that nearly every address has. What does not match is asked of email-validator, which knows
# quoted names, other scripts and lengths, and takes fifty times as long.
_PLAIN_EMAIL: Final = (
    r"^[A-Za-z0-9_%+-]+(?:\.[A-Za-z0-9_%+-]+)*@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,63}$"
)
# ISO 3166-1 alpha-2, https://www.iso.org/obp/ui/#search (2026): the regions with a telephone plan that
# phonenumbers knows, and those without one; AC, TA and XK are codes of telephony alone, so that XK (Kosovo,
# user-assigned, in wide use) is kept and the others are not.
COUNTRIES: Final = (frozenset(phonenumbers.SUPPORTED_REGIONS) - {"AC", "TA"}) | {
    *("AQ", "BV", "GS", "HM", "PN", "TF", "UM"),
}
# ISO 4217, list one: the codes of currencies in use (https://www.six-group.com, 2026; BGN stays for old amounts).
# Funds, metals and codes for testing are no currency of a price.
_CURRENCIES: Final = """
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CLP
    CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF
    IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD
    MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB
    RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD
    UYU UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG
"""
CURRENCIES: Final = frozenset(_CURRENCIES.split())


def as_email(text: pl.Expr) -> pl.Expr:
    """Return the address with its domain in lower case, or null when it has not the form of one."""
    short = text.str.len_bytes() <= 254
    plain = text.str.contains(_PLAIN_EMAIL) & short & (text.str.find("@", literal=True) <= 64)
    parts = text.str.splitn("@", 2)
    lowered = pl.concat_str(
        parts.struct.field("field_0"), parts.struct.field("field_1").str.to_lowercase(), separator="@"
    )
    return pl.when(plain).then(lowered).otherwise(_each(pl.when(~plain).then(text), _email))


def as_phone(text: pl.Expr, region: pl.Expr) -> pl.Expr:
    """Return the number in E.164 form, or null when it is not possible in its region or has none."""
    both = pl.concat_str(region.fill_null("").str.strip_chars().str.to_uppercase(), text, separator="|")
    return _each(both, _phone)


def as_country(text: pl.Expr, names: Mapping[str, str]) -> pl.Expr:
    """Return the ISO 3166-1 alpha-2 code, for a code in any case or a declared name."""
    known = {code.lower(): code for code in COUNTRIES} | {name.lower(): code for name, code in names.items()}
    return text.str.to_lowercase().replace_strict(known, default=None, return_dtype=pl.String)


def as_currency(text: pl.Expr, names: Mapping[str, str]) -> pl.Expr:
    """Return the ISO 4217 code, for a code in any case or a declared sign or name."""
    known = {code.lower(): code for code in CURRENCIES} | {name.lower(): code for name, code in names.items()}
    return text.str.to_lowercase().replace_strict(known, default=None, return_dtype=pl.String)


def _each(values: pl.Expr, read: Callable[[Any], str | None]) -> pl.Expr:
    """Read every distinct value once."""

    def of(series: pl.Series) -> pl.Series:
        distinct: list[Hashable] = series.drop_nulls().unique().to_list()
        known = {value: read(value) for value in distinct}
        if not known:
            return pl.Series(series.name, [None] * len(series), dtype=pl.String)
        return series.replace_strict(known, default=None, return_dtype=pl.String)

    return values.map_batches(of, return_dtype=pl.String)


def _email(text: str) -> str | None:
    try:
        # Whether the domain takes mail is asked of no server here.
        return validate_email(text, check_deliverability=False, test_environment=True).normalized
    except EmailNotValidError:
        return None


def _phone(both: str) -> str | None:
    region, _, text = both.partition("|")
    try:
        number = phonenumbers.parse(text, region or None)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_possible_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
