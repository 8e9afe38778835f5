"""What docstrings need before Sphinx reads them: they are plain text first, for ``help``."""

from __future__ import annotations

import re

_SHAPE = re.compile(r"\n( *)Shape\n *-{5}\n(.*?\n)(?=\n *\w[\w ]*\n *-{3,}\n|\Z)", re.DOTALL)
_HEADING = re.compile(r"\n *\w[\w ]*\n *-{3,}\n")
_MARKS = re.compile(r"(?<!\\)\||(?<=\w)(?<!\\)_(?!\w)")
_LITERAL = re.compile(r"(``.*?``)")
_MEMBER = re.compile(r"(?<!`)`(\.\w[^`]*)`(?!`)")


def lift_shape(text: str) -> str:
    """Move the section "Shape", which numpydoc does not know, to the end of the description."""
    found = _SHAPE.search(text)
    if found is None:
        return text
    words = " ".join(found.group(2).split())
    text = text[: found.start()] + "\n" + text[found.end() :]
    first = _HEADING.search(text)
    place = first.start() if first else len(text)
    return f"{text[:place]}\n{found.group(1)}**Shape**: {words}\n{text[place:]}"


def escape(line: str) -> str:
    """Take bars as magnitudes and trailing underscores as parts of names, outside of literals.

    A member without its object, `.layers`, becomes a literal: many classes may have one.
    """
    if line.lstrip().startswith((">>>", "...", "..")):
        return line
    parts = _LITERAL.split(_MEMBER.sub(r"``\1``", line))
    parts[::2] = [
        re.sub(r"(?<!\\)\||(?<=\w)(?<!\\)_(?!\w)", r"\\\g<0>", part) for part in parts[::2]
    ]
    return "".join(parts)
