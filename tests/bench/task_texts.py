"""What the local tasks are measured on, written for this benchmark, and how answers are judged.

The texts were written before anything was measured with them. They hold no digits and no names of
persons, because spelling those is not what a voice or an ear is judged by.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

SENTENCES = (
    "The ferry leaves the island early in the morning, when the water is calm.",
    "Please send the signed contract back to our office before the end of the week.",
    "A cold wind blew through the narrow streets, and nobody wanted to stay outside.",
    "The doctor asked whether the pain was worse during the night.",
    "Most of the bread in this town is baked by two brothers and their mother.",
    "Turn left behind the church, then follow the river until you see a red bridge.",
    "The children planted an apple tree beside the school and watered it every day.",
    "Because the engine was too loud, we could not hear what the pilot said.",
)
"""Spoken, and read back by Whisper."""

RECORDING = (
    "The old library stands at the corner of the market, and every student in town knows its "
    "wooden stairs. In summer the windows are open, and the sound of the fountain comes in."
)
"""Spoken once; its sound is what the speed of transcribing is measured with."""

PASSAGE = (
    "Last autumn our small orchestra travelled to the coast for a concert in an empty factory. "
    "The road was blocked by a fallen tree, so the bus arrived two hours late and nobody had "
    "eaten anything. While the musicians unpacked their instruments, the neighbours brought soup, "
    "bread and warm blankets. The hall had no heating, and the cold made every string sound flat. "
    "Even so, people stayed until midnight, and some of them sang along with the last song. "
    "On the way home the driver told us that he had never liked music before that evening."
)
"""Longer than one window of Whisper."""

PAGE = (
    "Region-based segmentation Let us first determine markers of the coins and the background. "
    "These markers are pixels that we can label unambiguously as either object or background. "
    "Here, the markers are found at the two extreme parts of the histogram of grey values: "
    ">>> markers = np.zeros_like(coins)"
)
"""Every whole line of scikit-image's `page.png`; the last one of the picture is cut off."""

LABELLED: dict[str, tuple[str, ...]] = {
    "sports": (
        "The goalkeeper saved a penalty in the last minute of the final.",
        "She ran the marathon in under three hours despite the heat.",
        "After a double fault he lost the second set and threw his racket.",
        "The coach will announce the starting team tomorrow.",
        "Their striker is injured and will miss the rest of the season.",
        "The cyclists climbed two mountain passes on the longest stage of the tour.",
        "A record crowd watched the swimmers win gold in the relay.",
        "He hit a home run and the stadium went wild.",
    ),
    "politics": (
        "Parliament voted against the new immigration bill late on Thursday.",
        "The minister resigned after the opposition demanded an inquiry.",
        "Turnout at the local elections fell to a third of all voters.",
        "The two governments signed a treaty on border controls.",
        "Her party lost its majority in the senate.",
        "The mayor promised lower taxes during the campaign.",
        "Diplomats met in secret to prepare the peace talks.",
        "The court ruled that the president had exceeded his powers.",
    ),
    "cooking": (
        "Fry the onions in butter until they are soft and golden.",
        "Let the dough rest for an hour before you roll it out.",
        "Add a pinch of salt and simmer the sauce on low heat.",
        "The cake sank in the middle because the oven was too cold.",
        "Whisk the eggs with sugar until the mixture is pale.",
        "This soup tastes better with fresh basil and a little lemon.",
        "Marinate the chicken overnight in yogurt and garlic.",
        "Drain the pasta, but keep a cup of the water.",
    ),
    "technology": (
        "The update fixes a flaw that let attackers read encrypted messages.",
        "Its battery lasts two days, but the screen is dimmer than last year's model.",
        "Engineers trained the neural network on millions of images.",
        "The laptop refuses to boot after I replaced the hard drive.",
        "A start-up has built a chip that uses half the energy.",
        "You can sync your files to the cloud from any browser.",
        "The robot learned to fold shirts by watching videos.",
        "Developers complained that the new interface breaks their plugins.",
    ),
    "travel": (
        "We booked a cabin by the lake for ten nights in August.",
        "The train along the coast has the best views of the cliffs.",
        "Our flight was delayed, so we missed the connection to Lisbon.",
        "The hostel is a short walk from the old town and has free lockers.",
        "Bring a passport, because the bus crosses the border twice.",
        "From the summit trail hikers can see three countries.",
        "The guide showed us temples that most tourists never find.",
        "Hotels near the beach are full until the end of the holidays.",
    ),
}
"""Label -> texts, each as often."""


def words(text: str) -> list[str]:
    """Letters and digits only, small."""
    return re.findall(r"[a-z0-9']+", text.lower())


def _row(before: Sequence[int], one: str, others: Sequence[str]) -> list[int]:
    row = [before[0] + 1]
    for at, other in enumerate(others):
        row.append(min(row[at] + 1, before[at + 1] + 1, before[at] + (one != other)))
    return row


def edits(said: str, heard: str) -> int:
    """Words to put in, take out or replace until *heard* is *said*."""
    theirs = words(heard)
    row = list(range(len(theirs) + 1))
    for one in words(said):
        row = _row(row, one, theirs)
    return row[-1]


def wrong_words(said: Sequence[str], heard: Sequence[str]) -> float:
    """Word error rate in percent: edits in all pairs, by the words of what was said."""
    found = sum(edits(a, b) for a, b in zip(said, heard, strict=True))
    return 100 * found / sum(len(words(text)) for text in said)


def words_found(shown: str, read: str) -> float:
    """Percent of the words shown that were read, in their order; what else was read is no fault."""
    ours, theirs = words(shown), words(read)
    row = [0] * (len(theirs) + 1)
    for one in ours:
        row = _longest(row, one, theirs)
    return 100 * row[-1] / len(ours)


def _longest(before: Sequence[int], one: str, others: Sequence[str]) -> list[int]:
    row = [0]
    for at, other in enumerate(others):
        row.append(before[at] + 1 if one == other else max(row[at], before[at + 1]))
    return row


def right(wanted: Sequence[str], found: Sequence[str]) -> float:
    """Percent that are letter by letter what was wanted."""
    return 100 * sum(a == b for a, b in zip(wanted, found, strict=True)) / len(wanted)
