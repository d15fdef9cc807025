"""Label sets of the data sets and the prompts made from them."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from fer_edge._text import did_you_mean
from fer_edge.errors import ConfigError


@dataclass(frozen=True)
class LabelSet:
    """The classes of a data set in their official order."""

    name: str
    labels: tuple[str, ...]  # what an app sees
    words: tuple[str, ...]  # what a prompt says for each label

    def __len__(self) -> int:
        return len(self.labels)


# RAF-DB's list_patition_label.txt counts 1..7 in this order; the words are those of the paper (section III-D).
RAFDB = LabelSet(
    "rafdb",
    ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral"),
    ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral"),
)
# The columns of FER+'s label files (Barsoum et al., ICMI 2016), without "unknown" and "NF".
FERPLUS = LabelSet(
    "ferplus",
    ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt"),
    ("neutral", "happy", "surprise", "sad", "angry", "disgust", "fear", "contempt"),
)
# SFEW 2.0 ships folders Angry, Disgust, Fear, Happy, Neutral, Sad, Surprise.
SFEW = LabelSet(
    "sfew",
    ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"),
    ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"),
)
LABEL_SETS: dict[str, LabelSet] = {labels.name: labels for labels in (RAFDB, FERPLUS, SFEW)}

# Adjectives that people name folders after; words of several meanings, such as joy or excited, are no synonyms.
_ADJECTIVES = {
    "surprise": ("surprised",),
    "fear": ("fearful", "afraid", "scared"),
    "disgust": ("disgusted",),
    "contempt": ("contemptuous",),
}
# Every known name of an expression -> its label: "Happy" and "happiness" are one.
_SYNONYMS = {
    word.lower(): label
    for labels in LABEL_SETS.values()
    for names in (labels.labels, labels.words)
    for word, label in zip(names, labels.labels, strict=True)
} | {word: label for label, words in _ADJECTIVES.items() for word in words}
EXPRESSIONS = frozenset(_SYNONYMS.values())  # the labels of all known sets
NAMES_SHOWN = 10  # of folders or labels in one message

# Table V of the paper. Case 1, "without text", is a model without a text head.
# {} is the word; {a} is the article the word needs.
TEMPLATES: dict[str, tuple[str, ...]] = {
    "none": (),
    "word": ("{}",),
    "phrase": ("a face image of {}",),
    "active": ("this is a face image of {}",),
    "passive": ("{a} {} expression is shown in the image",),
}


def label_set(name: str) -> LabelSet:
    """The label set of that name.

    Raises:
        ConfigError: There is none.
    """
    if name not in LABEL_SETS:
        raise ConfigError(f"no label set {name!r}; expected one of: {', '.join(LABEL_SETS)}")
    return LABEL_SETS[name]


def comparable(name: str) -> str:
    """Form in which names are compared: Unicode NFC, without case, without white space around it."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).strip().casefold())


def canonical(name: str) -> str:
    """The label that an expression's name stands for; an unknown name comes back in lower case and Unicode NFC."""
    plain = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).strip().lower())
    return _SYNONYMS.get(comparable(name), plain)


def match_labels(names: Sequence[str], labels: Sequence[str], words: Sequence[str] = ()) -> list[int]:
    """For each name, the index of the label that means the same, or -1.

    A label of exactly that name, whatever its case and Unicode form, comes before one that means the same.

    Args:
        names: Of folders, lists or another model's labels.
        labels: To look them up in.
        words: Other names of the same labels.
    """
    known = {comparable(canonical(word)): index for index, word in enumerate(words)}
    known |= {comparable(canonical(label)): index for index, label in enumerate(labels)}
    exact = {comparable(label): index for index, label in enumerate(labels)}
    return [exact.get(comparable(name), known.get(comparable(canonical(name)), -1)) for name in names]


def unknown_names(names: Sequence[str], labels: Sequence[str], words: Sequence[str] = ()) -> list[str]:
    """Names that are neither labels nor expressions of any known label set, such as misspelt ones."""
    indices = match_labels(names, labels, words)
    return [
        name for name, index in zip(names, indices, strict=True) if index < 0 and canonical(name) not in EXPRESSIONS
    ]


def expected_names(names: Sequence[str], labels: Sequence[str], words: Sequence[str] = ()) -> str:
    """End of a message on wrong names: those names, what the first close one may have meant, and the labels.

    Reads `happyness; did you mean happiness? expected some of: neutral, happiness`.
    """
    hints = (did_you_mean(name, [*words, *labels]) for name in names)
    hint = next((hint for hint in hints if hint), ";")
    return f"{enumerated(names)}{hint} expected some of: {', '.join(labels)}"


def enumerated(names: Sequence[str]) -> str:
    """Names separated by commas, the first ten of them."""
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more


def fill_template(template: str, word: str) -> str:
    """One prompt: the template with the word, and its article, in place.

    Raises:
        ConfigError: The template has no place for the word.
    """
    if "{}" not in template:
        hint = did_you_mean(template, TEMPLATES)
        raise ConfigError(f"prompt template {template!r} has no {{}} for the expression's word{hint}")
    article = "an" if word[:1].lower() in "aeiou" else "a"
    return template.replace("{a}", article).replace("{}", word)


def prompts_for(words: tuple[str, ...], templates: tuple[str, ...]) -> list[list[str]]:
    """Prompts of each word, one per template, in the order of the words."""
    return [[fill_template(template, word) for template in templates] for word in words]


def templates_named(names: Sequence[str]) -> tuple[str, ...]:
    """Prompt templates: those of a name in `TEMPLATES`, or the given text itself."""
    return tuple(text for name in names for text in TEMPLATES.get(name, (name,)))
