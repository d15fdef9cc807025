"""The rules of CONTRIBUTING.md about words, in code, texts and docs."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROS = ROOT / "ros" / "fer_edge_ros"
CODE = [*sorted((ROOT / "fer_edge").rglob("*.py")), *sorted((ROS / "fer_edge_ros").rglob("*.py"))]
TEXTS = [
    *(path for path in sorted((ROOT / "fer_edge").rglob("*")) if path.suffix in {".jinja", ".toml", ".md"}),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "web" / "src").glob("*.js")),
    ROOT / "web" / "README.md",
    ROOT / "README.md",
    ROS / "README.md",
    ROOT / "CONTRIBUTING.md",
]
# Words and phrases that read like riddles or personify files and engines, with a plain replacement for most.
FORBIDDEN = re.compile(
    r"\b(?:"
    r"told|untold|fallen|cures?|theirs|ours|mine|asked|asks|asking|heeds?|heard|believed?|believes"  # participles
    r"|tells?|telling|says|said|speaks?|knows|wants|promises|promised"  # verbs of people
    r"|so (?:many|often)|as (?:many|often) as|no matter|how often"
    r"|can(?:not)? be had|(?:goes|gone|going|go) on with|what came of|what becomes? of|what is (?:asked|told)"
    r"|(?:what|whatever|where it|it) lies|lies (?:elsewhere|beyond|beside|on disk)"
    r"|for one[,.:;)]|none of that name|nothing of the kind"
    r")\b",
    re.IGNORECASE,
)
# "is no file": "is not a file". "There is no file" and "is no longer" are plain.
COMPARISONS = "longer|more|less|need|other|larger|smaller|greater|faster|slower|shorter|better|worse"
NO_NOUN = re.compile(rf"(?<!there )(?<!if )\b(?:is|are|was) no (?!{COMPARISONS})\w+", re.IGNORECASE)
IDENTIFIERS = {
    "found", "one", "told", "asked", "theirs", "ours", "mine", "given", "said", "seen", "wanted", "made", "kept",
    "known", "untold", "fallen", "cure",
}  # fmt: skip
NO_NOUN_PHRASE = {"What", "How", "Whether", "Who", "Whose", "Why", "When", "Where", "Which", "That", "If", "Of", "So"}
NO_VERB = NO_NOUN_PHRASE | {
    "A", "An", "The", "Each", "Every", "All", "Any", "It", "Its", "One", "No", "None", "Nothing", "Only", "This",
    "These", "For", "In", "On", "To", "As", "By", "With", "Same", "Is", "Are", "True", "False",
}  # fmt: skip
PARTICIPLE = re.compile(r"_?[a-z]+(?<!fe)(?<!emb)ed")  # `_fitted` should be `_fit`
# Exceptions: file and text, each with a reason.
ALLOWED: dict[tuple[str, str], str] = {
    ("fer_edge/evaluation/saved_outputs.py", "tell"): "method of Python's file objects",
    ("fer_edge/score/tars.py", "tell"): "method of Python's file objects",
}


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def lines_with(pattern: re.Pattern[str], path: Path) -> list[str]:
    text = path.read_text()
    if path.suffix == ".py":  # identifiers are words too
        text = re.sub(r"(?<=[a-z])_(?=[a-z])|(?<=\b)_(?=[a-z])", " ", text)
    return [
        f"{relative(path)}:{number}: {match[0]!r} in: {line.strip()[:120]}"
        for number, line in enumerate(text.splitlines(), 1)
        for match in pattern.finditer(line)
        if (relative(path), match[0].lower()) not in ALLOWED
    ]


@pytest.mark.parametrize("path", [*CODE, *TEXTS], ids=relative)
def test_words_are_plain(path: Path) -> None:
    hits = lines_with(FORBIDDEN, path) + lines_with(NO_NOUN, path)
    assert not hits, "\n".join(hits)


@pytest.mark.parametrize("path", CODE, ids=relative)
def test_names_are_nouns_of_things_and_verbs_of_functions(path: Path) -> None:
    hits = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef) and PARTICIPLE.fullmatch(node.name) and not is_property(node):
            hits.append(f"{relative(path)}:{node.lineno}: a function's name begins with a verb: {node.name}")
        for name in bound_names(node):
            if name.strip("_") in IDENTIFIERS:
                hits.append(f"{relative(path)}:{getattr(node, 'lineno', 0)}: a name says what it holds: {name}")
    assert not hits, "\n".join(hits)


@pytest.mark.parametrize("path", CODE, ids=relative)
def test_docstrings_begin_with_a_noun_or_a_verb(path: Path) -> None:
    hits = []
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            continue
        docstring = ast.get_docstring(node)
        first = re.match(r"[A-Za-z']*", docstring or "")
        assert first is not None
        is_noun = not isinstance(node, ast.FunctionDef) or is_property(node)
        if first[0] in (NO_NOUN_PHRASE if is_noun else NO_VERB):
            hits.append(f"{relative(path)}:{getattr(node, 'lineno', 1)}: {(docstring or '').splitlines()[0]}")
    assert not hits, "\n".join(hits)


def bound_names(node: ast.AST) -> list[str]:
    """Return the names that a node binds: variables, arguments and functions."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        return [node.id]
    if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
        return [node.attr]
    if isinstance(node, ast.arg):
        return [node.arg]
    return [node.name] if isinstance(node, (ast.FunctionDef, ast.ClassDef)) else []


def is_property(function: ast.FunctionDef) -> bool:
    return any("property" in ast.unparse(decorator) for decorator in function.decorator_list)


@pytest.mark.parametrize(
    "line",
    [
        "the stub knows no None here", "told: bool = True", "what came of it", "run it so often", "for so many queries",
        "weights cannot be had", "a file that is no bundle", "a search that can be gone on with", "as many as fit",
        "_asked", "engines speak", "whichever way it lies",
    ],
)  # fmt: skip
def test_riddles_are_found(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "x.py").write_text(line)
    assert lines_with(FORBIDDEN, tmp_path / "x.py") + lines_with(NO_NOUN, tmp_path / "x.py")


@pytest.mark.parametrize(
    "line",
    ["there is no GPU", "a layer is no longer fused", "no face was found", "left, top = box[:2]", "so that it fits"],
)
def test_plain_words_pass(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "x.py").write_text(line)
    assert not lines_with(FORBIDDEN, tmp_path / "x.py") + lines_with(NO_NOUN, tmp_path / "x.py")
