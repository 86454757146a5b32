"""A package, so that `tests.made_*` is found here: some wheels install a folder `tests` of their own."""
