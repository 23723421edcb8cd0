"""A closed language: English numbers and dates in words, and what they are in German.

It is finite, so one regular expression decides whether a sentence belongs to it (`PATTERN`), and a
teacher knows the German of each sentence. A net is trained on a sample of the sentences and served
for those that the expression accepts; what it does not accept is refused before the net sees it.

numbers   zero to nine hundred and ninety-nine thousand nine hundred and ninety-nine; `and` may be
          left out, and so may hyphens: `two hundred five`, `twenty three`
dates     `[monday,] the third of march | march the third | march third [[,] year]`
years     1100 to 2099: `nineteen eighty-four`, `nineteen hundred`, `nineteen oh five`,
          `two thousand and five`, `twenty twenty-six`
"""

import random
from dataclasses import dataclass


def _words(text: str) -> list[str]:
    return text.split()


ONES = _words(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
)
TENS = _words("twenty thirty forty fifty sixty seventy eighty ninety")
FIRSTS = _words(
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth "
    "fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth"
)
MONTHS = _words(
    "january february march april may june july august september october november december"
)
DAYS = _words("monday tuesday wednesday thursday friday saturday sunday")

EINS = _words(
    "null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn "
    "fünfzehn sechzehn siebzehn achtzehn neunzehn"
)
ZEHNER = _words("zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig")
MONATE = _words(
    "Januar Februar März April Mai Juni Juli August September Oktober November Dezember"
)
TAGE = _words("Montag Dienstag Mittwoch Donnerstag Freitag Samstag Sonntag")
IRREGULAR = {1: "erste", 3: "dritte", 7: "siebte", 8: "achte"}
LENGTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
PIECES = ["hundred", "thousand", "and", "oh", "the", "of"]
STUECKE = ["ein", "hundert", "tausend", "und", "der ", "te", "ste", *IRREGULAR.values()]


@dataclass(frozen=True, slots=True)
class Pair:
    """A sentence and its translation."""

    english: str
    german: str


class Teacher:
    """Draws sentences of the language; the same seed gives the same sentences."""

    def __init__(self, seed: int) -> None:
        """Every draw is decided by `seed`."""
        self._dice = random.Random(seed)  # noqa: S311 - it samples, it keeps no secret

    def draw(self) -> Pair:
        """One sentence: a number or a date, each as often."""
        return self._number() if self._dice.random() < 0.5 else self._date()

    def _number(self) -> Pair:
        # Uniform in digits, so that short numbers are met as often as long ones.
        number = self._dice.randrange(10 ** self._dice.randint(1, 6))
        return Pair(self._words(number), cardinal(number))

    def _date(self) -> Pair:
        month = self._dice.randrange(12)
        day = self._dice.randint(1, LENGTHS[month])
        first, name = self._ordinal(day), MONTHS[month]
        forms = (f"the {first} of {name}", f"{name} the {first}", f"{name} {first}")
        english = self._dice.choice(forms)
        german = f"der {ordinal(day)} {MONATE[month]}"
        if self._dice.random() < 0.3:
            weekday = self._dice.randrange(7)
            english, german = f"{DAYS[weekday]}, {english}", f"{TAGE[weekday]}, {german}"
        if self._dice.random() < 0.7:
            year = self._dice.randint(1100, 2099)
            comma = self._dice.choice((",", ""))
            english, german = f"{english}{comma} {self._year(year)}", f"{german} {jahr(year)}"
        return Pair(english, german)

    def _joint(self) -> str:
        return self._dice.choice(("-", "-", " "))

    def _and(self) -> str:
        return self._dice.choice((" and ", " "))

    def _below_hundred(self, number: int) -> str:
        if number < 20:
            return ONES[number]
        ten = TENS[number // 10 - 2]
        return f"{ten}{self._joint()}{ONES[number % 10]}" if number % 10 else ten

    def _words(self, number: int) -> str:
        if number < 100:
            return self._below_hundred(number)
        if number < 1000:
            head, rest = f"{ONES[number // 100]} hundred", number % 100
            return f"{head}{self._and()}{self._below_hundred(rest)}" if rest else head
        head, rest = f"{self._words(number // 1000)} thousand", number % 1000
        if not rest:
            return head
        return f"{head}{self._and() if rest < 100 else ' '}{self._words(rest)}"

    def _ordinal(self, day: int) -> str:
        if day <= 20:
            return FIRSTS[day - 1]
        if day == 30:
            return "thirtieth"
        return f"{TENS[day // 10 - 2]}{self._joint()}{FIRSTS[day % 10 - 1]}"

    def _year(self, year: int) -> str:
        century, rest = divmod(year, 100)
        if century == 20 and (rest < 10 or self._dice.random() < 0.5):
            tail = f"{self._and()}{self._below_hundred(rest)}" if rest else ""
            return f"two thousand{tail}"
        head = self._below_hundred(century)
        if not rest:
            return f"{head} hundred"
        return f"{head} oh {ONES[rest]}" if rest < 10 else f"{head} {self._below_hundred(rest)}"


def cardinal(number: int) -> str:
    """German for 0 to 999,999, one word."""
    if number < 20:
        return EINS[number]
    if number < 100:
        ten = ZEHNER[number // 10 - 2]
        return f"{_bound(number % 10)}und{ten}" if number % 10 else ten
    size, word = (100, "hundert") if number < 1000 else (1000, "tausend")
    tail = cardinal(number % size) if number % size else ""
    head = cardinal(number // size)
    # `eins` is bound to what follows it: einhundert, einundzwanzigtausend, hunderteintausend.
    return (head[:-1] if head.endswith("eins") else head) + word + tail


def ordinal(day: int) -> str:
    """German for the days of a month, as in `der dritte März`."""
    return IRREGULAR.get(day) or cardinal(day) + ("te" if day < 20 else "ste")


def jahr(year: int) -> str:
    """German for a year: hundreds are counted up to 1999."""
    if year >= 2000:
        return cardinal(year)
    century, rest = divmod(year, 100)
    return EINS[century] + "hundert" + (cardinal(rest) if rest else "")


def _bound(one: int) -> str:
    return "ein" if one == 1 else EINS[one]


def _any(words: list[str]) -> str:
    return f"(?:{'|'.join(sorted(words, key=len, reverse=True))})"


def _pattern() -> str:
    low, ten = _any(ONES[1:10]), _any(TENS)
    two = f"(?:{ten}(?:[- ]{low})?|{_any(ONES[1:])})"
    three = f"(?:{low} hundred(?: (?:and )?{two})?|{two})"
    tail = f"(?: (?:{low} hundred(?: (?:and )?{two})?|(?:and )?{two}))?"
    number = f"(?:zero|{three} thousand{tail}|{three})"
    teens = f"(?:{ten}(?:[- ]{low})?|{_any(ONES[10:])})"
    split = f"(?:{_any(ONES[11:])} (?:hundred|oh {low}|{teens})|twenty {teens})"
    year = f"(?:{split}|two thousand(?: (?:and )?{two})?)"
    dates = []
    for days in (29, 30, 31):
        months = [name for name, size in zip(MONTHS, LENGTHS, strict=True) if size == days]
        last = {29: "", 30: "|thirtieth", 31: "|thirtieth|thirty[- ]first"}[days]
        first = f"(?:twenty[- ]{_any(FIRSTS[:9])}{last}|{_any(FIRSTS)})"
        month = _any(months)
        dates.append(f"the {first} of {month}|{month} (?:the )?{first}")
    date = f"(?:{_any(DAYS)}, )?(?:{'|'.join(dates)})(?:,? {year})?"
    return f"(?:{number}|{date})"


PATTERN = _pattern()
"""Matches the whole of each sentence of the language, in lower case, and nothing else."""

SAYS = (
    "English numbers in words from zero to 999,999, and dates in words such as "
    "'monday, the third of march nineteen eighty-four'"
)


def pieces() -> list[str]:
    """What sentences are cut into, longest match first; all letters are among them."""
    words = [*ONES, *TENS, *FIRSTS, "thirtieth", *MONTHS, *DAYS, *PIECES]
    english = [f"{mark}{word}" for word in words for mark in ("", " ", "-")]
    german = [*EINS, *ZEHNER, *STUECKE, *TAGE, *(f" {month}" for month in MONATE), " der "]
    letters = {letter for word in [*words, *german, *MONATE] for letter in word}
    return sorted({*english, *german, *letters, ",", "-", " "})
