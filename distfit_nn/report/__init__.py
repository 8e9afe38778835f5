"""One self-contained HTML page that explains how the activations of a network are distributed."""
