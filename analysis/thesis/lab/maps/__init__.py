"""Log-shift and sqrt-shift: what they are, what they learn."""
