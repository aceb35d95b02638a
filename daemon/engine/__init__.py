"""Runs stages: schedules, reads ahead, computes on one thread per device, writes behind, retries, recovers."""
