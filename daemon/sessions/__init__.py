"""What belongs to one session: its manifest, names, folders, records, life and audit."""
