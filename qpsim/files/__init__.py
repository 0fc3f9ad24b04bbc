"""Files that are read with care and never left half-written."""
