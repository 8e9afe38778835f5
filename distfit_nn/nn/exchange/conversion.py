"""What a conversion of norms did, for the eye and for programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Row:
    """One norm, or one ReLU, and what became of it.

    Attributes
    ----------
    names : tuple of str
        Where it stands in the model; several names of one shared module.
    source : str
        Class of what was there.
    target : str or None
        Class of the layer that was put in, None where all was left as it is.
    kept : tuple of str
        What the layer took over.
    new : tuple of str
        Parameters of the layer that were not there before: an optimizer does not know them yet.
    note : str
        What means another thing now, or why it was left.
    """

    names: tuple[str, ...]
    source: str
    target: str | None = None
    kept: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    note: str = ""

    def __str__(self) -> str:
        names = ", ".join(name or "(the model)" for name in self.names)
        if self.target is None:
            return f"{names}: {self.source} left: {self.note}"
        parts = [f"{names}: {self.source} -> {self.target}"]
        parts += [f"kept {', '.join(self.kept)}"] if self.kept else []
        parts += [f"new parameters {', '.join(self.new)}"] if self.new else []
        parts += [self.note] if self.note else []
        return "; ".join(parts)


@dataclass(frozen=True, repr=False)
class Conversion:
    """What was done to a model. Its length is the number of layers that were put in.

    Attributes
    ----------
    model : torch.nn.Module
        The model as it is now: the one that was given, unless that was itself a norm or had to be
        traced.
    rows : tuple of Row
        One for each norm or ReLU that was found, in the order of the model.
    """

    model: nn.Module
    rows: tuple[Row, ...]

    @property
    def converted(self) -> tuple[Row, ...]:
        """Rows of what was converted."""
        return tuple(row for row in self.rows if row.target is not None)

    @property
    def left(self) -> tuple[Row, ...]:
        """Rows of what was left as it is."""
        return tuple(row for row in self.rows if row.target is None)

    def to_frame(self) -> pd.DataFrame:
        """Return the rows as a table, one line each."""
        import pandas as pd

        table = [{**asdict(row), "names": ", ".join(row.names)} for row in self.rows]
        return pd.DataFrame(table, columns=list(Row.__dataclass_fields__))

    def __len__(self) -> int:
        return len(self.converted)

    def __str__(self) -> str:
        head = f"{len(self.converted)} converted, {len(self.left)} left"
        if not self.converted:
            head += ": the model is as it was"
        return "\n".join([head, *(f"  {row}" for row in self.rows)])

    __repr__ = __str__
