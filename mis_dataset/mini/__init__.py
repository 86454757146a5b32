"""MIS-mini: a small, harmless release in the layout of the authors' own, drawn from openly licensed pictograms."""
