"""RELION's STAR conventions, to and from domain."""
