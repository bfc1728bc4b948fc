"""Recipe of the two tiny models: drawn, captioned scenes; training; export; contact sheets; a judge."""
