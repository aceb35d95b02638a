"""A small facility in a folder and a simulated microscope beside it: what tests and benchmarks run Elcano in."""
