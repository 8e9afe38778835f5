"""Where the nodes of a look-up table are, and how the table lies in memory.

With u = (x - centre) / scale, the nodes on either side of u = 0 are where

    1 + abs(u) = 2^o (1 + j / CELLS),   o = 0..OCTAVES - 1,   j = 0..CELLS - 1,

and the last at 2^OCTAVES: 1 / CELLS apart around 0, and twice as far in each octave further out.
The cell of a value is what the leading bits of 1 + abs(u), as a float32, say: there is no search.
"""

from __future__ import annotations

CELLS = 16  # in an octave: a power of two
OCTAVES = 10
NODES = CELLS * OCTAVES  # on one side of the centre, which is a node as well
REACH = 2.0**OCTAVES - 1  # the last node

HEAD = 3  # numbers of a column beside its table: centre, 1 / scale, and a shift of u
SIDE = NODES + 1  # cells on one side: those between nodes, and the line beyond the last
TABLE = 2 * SIDE * 4  # numbers in the table of a column, four a cell

# Bits of a float32: those of 1.0, how many tell a place within a cell, and those of the exponent.
# CELL_RATE less the exponent bits of 2^o has the bits of CELLS / 2^o, cells for a unit of u.
ONE = 0x3F800000
WITHIN = 23 - (CELLS.bit_length() - 1)
EXPONENT = 0xFF << 23
CELL_RATE = (254 + CELLS.bit_length() - 1) << 23
