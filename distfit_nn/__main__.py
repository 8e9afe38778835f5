"""``python -m distfit_nn`` is the program `distfit-nn`."""

from __future__ import annotations

from distfit_nn.cli import main

if __name__ == "__main__":
    main()
