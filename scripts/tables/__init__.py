"""Tables of the READMEs, made from records: `python scripts/tables`."""
