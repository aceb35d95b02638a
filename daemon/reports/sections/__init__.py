"""The parts of a report; a new one is one file here and one line below."""

from daemon.reports.section import Section
from daemon.reports.sections import acquisition, failures, glance, micrographs, provenance, quality, speed

SECTIONS: tuple[Section, ...] = (
    Section("glance", "At a glance", glance.render),
    Section("quality", "Quality", quality.render, needs=("micrographs",)),
    Section("micrographs", "Micrographs", micrographs.render, needs=("micrographs",)),
    Section("failures", "Failures and remarks", failures.render, needs=("movies",)),
    Section("acquisition", "Acquisition", acquisition.render),
    Section("speed", "Throughput and latency", speed.render, needs=("micrographs",)),
    Section("left-alone", "Left alone", failures.render_left_alone, needs=("movies",)),
    Section("provenance", "Parameters and versions", provenance.render, needs=("runs",)),
    Section("numbers", "More numbers", quality.render_others, needs=("micrographs",)),
)
"""In the order of the page. What a section needs are names of daemon.reports.questions."""
