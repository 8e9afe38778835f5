"""The normal density and tail by one exponential, in vector instructions.

Phi(-a) = exp(-a^2 / 2) M(a) for a >= 0, M being Mills' ratio over sqrt(2 pi).
"""

from __future__ import annotations

from typing import Any

from numba import njit

from distfit_nn._floats import exponential

FARTHEST = 37.0  # of |u|: beyond, exp(-u^2 / 2) is as good as 0

OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}
inlined = njit(**OPTIONS, forceinline=True, fastmath={"contract"})

# M(a) = Phi(-a) exp(a^2 / 2) for a >= 0: the best quotient of polynomials of degrees 9 and 10,
# found by reweighted least squares; its error is 4e-16 of it. All coefficients are positive.
P0, P1, P2 = 0.49999999999999983, 0.8017144246872567, 0.6336146941410036
P3, P4, P5 = 0.3180350243871488, 0.11078339319776494, 0.027685719825799197
P6, P7, P8 = 0.0049678834435852946, 0.000620046705480254, 4.930729262697799e-05
P9 = 1.938634421007727e-06
Q0, Q1, Q2 = 1.0, 2.40131341017731, 2.6832002839134153
Q3, Q4, Q5 = 1.8422589440057757, 0.8635335782174748, 0.28989823137024034
Q6, Q7, Q8 = 0.07094231587923305, 0.01257623215824302, 0.001559086039404957
Q9, Q10 = 0.00012359505384428054, 4.859435853870872e-06


@inlined
def _mills(a):  # type: ignore[no-untyped-def]
    """Return Phi(-a) exp(a^2 / 2), a >= 0."""
    p = ((P9 * a + P8) * a + P7) * a + P6
    p = p * a + P5
    p = p * a + P4
    p = p * a + P3
    p = p * a + P2
    p = p * a + P1
    p = p * a + P0
    q = ((Q10 * a + Q9) * a + Q8) * a + Q7
    q = q * a + Q6
    q = q * a + Q5
    q = q * a + Q4
    q = q * a + Q3
    q = q * a + Q2
    q = q * a + Q1
    q = q * a + Q0
    return p / q


@inlined
def normal_parts(u):  # type: ignore[no-untyped-def]
    """Return exp(-u^2 / 2), and its product with M(|u|), the smaller tail."""
    a = min(abs(u), FARTHEST)
    e = exponential(-0.5 * a * a)
    return e, e * _mills(a)
