"""See new files and prove them complete."""
