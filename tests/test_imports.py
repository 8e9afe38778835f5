"""`import distfit_nn` and ``--help`` are cheap: heavy packages wait until they are used."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "numba", "statsmodels", "seaborn", "matplotlib", "pandas", "scipy", "sklearn")


def loaded_after(code: str) -> set[str]:
    program = f"{code}\nimport sys; print(*[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "code",
    [
        "import distfit_nn",
        "import distfit_nn; distfit_nn.errors.InputError; distfit_nn.__version__",
        "import distfit_nn.cli",
        "import contextlib, distfit_nn.cli\n"
        "with contextlib.suppress(SystemExit): distfit_nn.cli.main(['--help'])",
        *(
            f"import contextlib, distfit_nn.cli\n"
            f"with contextlib.suppress(SystemExit): distfit_nn.cli.main({arguments})"
            for arguments in (["check", "-h"], ["--version"], ["analyse"], ["fit"], ["config"])
        ),
    ],
)
def test_nothing_heavy(code):
    assert loaded_after(code) == set()


def test_analysing_needs_no_torch():
    code = "import distfit_nn as dn, numpy as np; dn.analyze(np.arange(9.0)).layers"
    assert not {"torch", "seaborn", "matplotlib"} & loaded_after(code)


def test_the_face_lists_what_it_has():
    import distfit_nn

    assert sorted(distfit_nn.__all__) == distfit_nn.__all__ == dir(distfit_nn)
    for name in distfit_nn.__all__:
        assert getattr(distfit_nn, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        distfit_nn.nonsense  # noqa: B018
