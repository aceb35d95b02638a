"""What several keys of the configuration must keep together; a key that is wrong by itself is left out of it."""

import grp
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from daemon.config.places import RealPlaces
from daemon.config.problems import Fault, nearest_key, show_value
from daemon.config.schema import SessionEntry, Settings
from daemon.config.sections import Checked
from daemon.domain.names import name_problem


def check_together(
    settings: Settings, checked: Checked, stages: Collection[str] | None, places: RealPlaces
) -> list[Fault]:
    """Return what does not go together; `stages` are the names of all there are, None where nobody asks."""
    real = _real_paths(settings, places)
    faults = [*_check_places(settings, checked, real), *_check_sections(settings, checked)]
    names: dict[str, int] = {}
    directories: dict[Path, int] = {}
    for n, entry in checked.entries.items():
        if not checked.is_wrong("session", n, "name"):
            faults += _check_name(n, entry, names)
        if directories.setdefault(real[entry.directory], n) != n:
            first = directories[real[entry.directory]]
            faults.append(Fault(("session", n, "directory"), f"{entry.directory} is already that of session[{first}]"))
        faults += _check_pipeline(n, entry, stages)
        faults += _check_dose(n, entry)
    return faults


def _real_paths(settings: Settings, places: RealPlaces) -> Mapping[Path, Path]:
    """Follow the links of every folder that is compared with another, all at once."""
    named = (entry.directory for entry in settings.sessions)
    return places.real_paths([settings.state, *named, *settings.watch.roots, settings.paths.gpfs, settings.paths.home])


def _check_places(settings: Settings, checked: Checked, real: Mapping[Path, Path]) -> Iterator[Fault]:
    """Refuse results or state under a folder that is watched: they would be taken for new raw data."""
    if checked.is_wrong("watch", "roots"):
        return
    watched = [("watch.roots", root) for root in settings.watch.roots] or [("paths.gpfs", settings.paths.gpfs)]
    watched += [(f"session[{n}].directory", entry.directory) for n, entry in checked.entries.items()]
    ours = [("home", settings.paths.home), ("state", settings.state)]
    for key, place in ours:
        for name, root in watched:
            if not checked.is_wrong("paths", key) and real[place].is_relative_to(real[root]):
                hint = "choose a place outside: raw data are read-only"
                yield Fault(("paths", key), f"{place} lies under the watched {name} {root}", hint)


def _check_sections(settings: Settings, checked: Checked) -> Iterator[Fault]:
    watch, bus, group = settings.watch, settings.bus, settings.output.group
    is_known = not checked.is_wrong("watch", "poll_min_s") and not checked.is_wrong("watch", "poll_max_s")
    if is_known and watch.poll_max_s < watch.poll_min_s:
        hint = f"takes a number from poll_min_s = {watch.poll_min_s:g} s on"
        yield Fault(("watch", "poll_max_s"), f"{watch.poll_max_s:g} is less than watch.poll_min_s", hint)
    if bus.credentials is not None and bus.url is None and not checked.is_wrong("bus", "url"):
        yield Fault(("bus", "credentials"), "has no effect without bus.url", "set bus.url or remove it")
    if group is not None and not _group_exists(group):
        yield Fault(("output", "group"), f"{show_value(group)}: this machine knows no such group")


def _check_name(n: int, entry: SessionEntry, names: dict[str, int]) -> Iterator[Fault]:
    wrong = name_problem(entry.session_name)
    if wrong:
        yield Fault(("session", n, "name"), f"{show_value(entry.session_name)} {wrong}")
    first = names.setdefault(entry.session_name, n)
    if first != n:
        yield Fault(("session", n, "name"), f"{entry.session_name} is already that of session[{first}]")


def _check_pipeline(n: int, entry: SessionEntry, stages: Collection[str] | None) -> Iterator[Fault]:
    for stage in entry.pipeline or ():
        if stages is not None and stage not in stages:
            hint = nearest_key(stage, stages, ())
            yield Fault(("session", n, "pipeline"), f"{show_value(stage)} is not a stage", hint)


def _check_dose(n: int, entry: SessionEntry) -> Iterator[Fault]:
    dose = entry.acquisition
    if dose.dose_per_frame_e_per_ang2 is None:
        return
    given = f"dose_per_frame_e_per_ang2 = {dose.dose_per_frame_e_per_ang2:g}"
    if dose.total_dose_e_per_ang2 is not None:
        hint = "give dose_per_frame_e_per_ang2 or total_dose_e_per_ang2"
        said = f"two doses are given: {given} and total_dose_e_per_ang2 = {dose.total_dose_e_per_ang2:g}"
        yield Fault(("session", n, "acquisition"), said, hint)
    if dose.eer is not None and dose.eer.dose_per_fraction_e_per_ang2 is not None:
        hint = "give total_dose_e_per_ang2 with eer.dose_per_fraction_e_per_ang2"
        yield Fault(("session", n, "acquisition"), f"the dose of a fraction is given twice, also by {given}", hint)


def _group_exists(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True
