"""Bytes only: one module per file format."""
