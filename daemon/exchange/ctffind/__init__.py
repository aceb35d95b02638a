"""CTFFIND 4 and 5: their questions and their diagnostic text."""
