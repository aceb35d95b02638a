"""Writes simulated sessions as a microscope would; its physics is numerics.simulation."""
