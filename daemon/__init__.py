"""Elcano: live cryo-EM processing beside the microscope (docs/life-of-a-movie.md is the tour)."""

__version__ = "0.1.0"
