"""The door of the dataset room, for two uses.

``python mis_dataset.py RAW OUT`` builds the dataset. As a loading script, ``load_dataset("mis_dataset.py",
data_dir=RAW, trust_remote_code=True)`` loads a raw release with `datasets` 3.6, where the folder of this file is on the
path. Never upload this file beside the Parquet files: newer versions of `datasets` refuse a repository that
holds a script of its own name.
"""

import sys

# Beside a package of the same name a plain module is never found: this is the package.
from mis_dataset.builder import MISBuilder  # noqa: F401  `datasets` looks for it here

if __name__ == "__main__":
    from mis_dataset.__main__ import main

    sys.exit(main(["build", *sys.argv[1:]]))
