"""Results beside each other: the table of `compare`, and how two outputs differ."""
