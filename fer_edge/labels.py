"""Label sets of the data sets, names of expressions, and prompt templates."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from fer_edge._text import did_you_mean
from fer_edge.errors import ConfigError


@dataclass(frozen=True)
class LabelSet:
    """Classes of a data set in their official order.

    Attributes:
        name: Name of the label set: "ferplus".
        labels: Labels, as an app receives them.
        words: Word of each label in prompts.
    """

    name: str
    labels: tuple[str, ...]
    words: tuple[str, ...]

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

# Adjectives in the names of folders. Ambiguous words such as joy or excited are not synonyms.
_ADJECTIVES = {
    "surprise": ("surprised",),
    "fear": ("fearful", "afraid", "scared"),
    "disgust": ("disgusted",),
    "contempt": ("contemptuous",),
}
# Label by lower-case name: "happy" and "happiness" are the same expression.
_SYNONYMS = {
    word.lower(): label
    for labels in LABEL_SETS.values()
    for names in (labels.labels, labels.words)
    for word, label in zip(names, labels.labels, strict=True)
} | {word: label for label, words in _ADJECTIVES.items() for word in words}
EXPRESSIONS = frozenset(_SYNONYMS.values())  # labels of all label sets
MAX_NAMES = 10  # names of folders or labels in one message

# Table V of the paper. Case 1, "without text", is a model without a text head.
# {} stands for the word, {a} for its article.
TEMPLATES: dict[str, tuple[str, ...]] = {
    "none": (),
    "word": ("{}",),
    "phrase": ("a face image of {}",),
    "active": ("this is a face image of {}",),
    "passive": ("{a} {} expression is shown in the image",),
}


def label_set(name: str) -> LabelSet:
    """Return a label set by name.

    Raises:
        ConfigError: Unknown name.
    """
    if name not in LABEL_SETS:
        raise ConfigError(f"no label set {name!r}; expected one of: {', '.join(LABEL_SETS)}")
    return LABEL_SETS[name]


def comparable(name: str) -> str:
    """Return a name for comparison: in Unicode NFC, case-folded, without surrounding white space."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).strip().casefold())


def canonical(name: str) -> str:
    """Return the label of an expression's name; for an unknown name, the name in lower case and Unicode NFC."""
    plain = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).strip().lower())
    return _SYNONYMS.get(comparable(name), plain)


def match_labels(names: Sequence[str], labels: Sequence[str], words: Sequence[str] = ()) -> list[int]:
    """Return the index of the matching label for each name, or -1.

    The same name, in any case and Unicode form, has precedence over a synonym.

    Args:
        names: Names of folders, in lists, or labels of another model.
        labels: Labels to match.
        words: Words of the labels, which match too.
    """
    by_meaning = {comparable(canonical(word)): index for index, word in enumerate(words)}
    by_meaning |= {comparable(canonical(label)): index for index, label in enumerate(labels)}
    exact = {comparable(label): index for index, label in enumerate(labels)}
    return [exact.get(comparable(name), by_meaning.get(comparable(canonical(name)), -1)) for name in names]


def unknown_names(names: Sequence[str], labels: Sequence[str], words: Sequence[str] = ()) -> list[str]:
    """Return the names that match no label and no expression of any label set, such as misspelt ones."""
    indices = match_labels(names, labels, words)
    return [
        name for name, index in zip(names, indices, strict=True) if index < 0 and canonical(name) not in EXPRESSIONS
    ]


def expected_names(names: Sequence[str], labels: Sequence[str], words: Sequence[str] = ()) -> str:
    """Return the end of a message about wrong names: the names, a suggestion, and the labels.

    Example: `happyness; did you mean happiness? expected some of: neutral, happiness`.
    """
    hints = (did_you_mean(name, [*words, *labels]) for name in names)
    hint = next((hint for hint in hints if hint), ";")
    return f"{join_names(names)}{hint} expected some of: {', '.join(labels)}"


def join_names(names: Sequence[str]) -> str:
    """Join at most ten names with commas."""
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more


def fill_template(template: str, word: str) -> str:
    """Return the prompt of a word.

    Args:
        template: Template with "{}" for the word and optionally "{a}" for its article.
        word: Word of an expression.

    Raises:
        ConfigError: Template without "{}".
    """
    if "{}" not in template:
        hint = did_you_mean(template, TEMPLATES)
        raise ConfigError(f"prompt template {template!r} has no {{}} for the expression's word{hint}")
    article = "an" if word[:1].lower() in "aeiou" else "a"
    return template.replace("{a}", article).replace("{}", word)


def prompts_for(words: tuple[str, ...], templates: tuple[str, ...]) -> list[list[str]]:
    """Return the prompts of each word, one per template."""
    return [[fill_template(template, word) for template in templates] for word in words]


def expand_templates(names: Sequence[str]) -> tuple[str, ...]:
    """Return the templates of each name in `TEMPLATES`; any other text is a template itself."""
    return tuple(text for name in names for text in TEMPLATES.get(name, (name,)))
