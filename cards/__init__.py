"""Room 3: the publication. Each sub-folder is one Hub repository; `render` writes the cards of a run."""
