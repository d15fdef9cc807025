"""Label sets of the data sets and the prompts made from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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

# Every known name of an expression -> its label: "Happy" and "happiness" are one.
_SYNONYMS = {
    word.lower(): label
    for labels in LABEL_SETS.values()
    for names in (labels.labels, labels.words)
    for word, label in zip(names, labels.labels, strict=True)
}

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


def canonical(name: str) -> str:
    """The label that an expression's name stands for; names we do not know come back in lower case."""
    return _SYNONYMS.get(name.lower(), name.lower())


def match_labels(names: Sequence[str], labels: Sequence[str], words: Sequence[str] = ()) -> list[int]:
    """For each name, the index of the label that means the same, or -1.

    Args:
        names: Of folders, lists or another model's labels.
        labels: To look them up in.
        words: Other names of the same labels.
    """
    known = {canonical(word): index for index, word in enumerate(words)}
    known |= {canonical(label): index for index, label in enumerate(labels)}
    return [known.get(canonical(name), -1) for name in names]


def fill_template(template: str, word: str) -> str:
    """One prompt: the template with the word, and its article, in place.

    Raises:
        ConfigError: The template has no place for the word.
    """
    if "{}" not in template:
        raise ConfigError(f"prompt template {template!r} has no {{}} for the expression's word")
    article = "an" if word[:1].lower() in "aeiou" else "a"
    return template.replace("{a}", article).replace("{}", word)


def prompts_for(words: tuple[str, ...], templates: tuple[str, ...]) -> list[list[str]]:
    """Prompts of each word, one per template, in the order of the words."""
    return [[fill_template(template, word) for template in templates] for word in words]


def templates_named(names: Sequence[str]) -> tuple[str, ...]:
    """Prompt templates: those of a name in `TEMPLATES`, or the given text itself."""
    return tuple(text for name in names for text in TEMPLATES.get(name, (name,)))
