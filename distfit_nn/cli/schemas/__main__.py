"""Print the page that documents the schemas."""

from __future__ import annotations

from distfit_nn.cli.schemas import markdown

if __name__ == "__main__":
    print(markdown(), end="")
