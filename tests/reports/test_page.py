"""The whole page: it stands by itself, shows every number with its gates, and trusts no text from outside."""

import dataclasses
import json
import re
from pathlib import Path

from daemon.domain.motion import NOT_RELIED_ON
from daemon.domain.movie import FileIdentity, LedgerEntry
from daemon.domain.states import MovieState, SessionState
from daemon.pipeline.gate import BY_HAND, GATES
from daemon.reports.charts import MOST_DOTS
from daemon.reports.markup import Html
from daemon.reports.measures import CTF, MEASURES, MOTION
from daemon.reports.page import render_page
from daemon.reports.section import Section
from daemon.reports.sections import SECTIONS
from daemon.reports.sections.micrographs import _verdict
from daemon.reports.writing import write_report
from daemon.sessions.first_movie import ABERRATION_IMPLAUSIBLE, FIRST_MOVIE, PIXEL_SIZE_CONTRADICTED
from daemon.sessions.no_movies import SINGLE_IMAGE
from daemon.stages import MOVIE_STAGES
from daemon.store.changes import PutDecision, PutNotification, PutVerdict, SeeMovie
from daemon.store.store import Store
from tests.reports.conftest import Gather, gather_of
from tests.reports.night import BEGIN_S, EVIL, HASH, METRICS, Night
from tests.reports.reading import Page

_LOADS = ("src", "href", "action", "data", "poster", "srcset", "xlink:href", "background", "formaction")


def test_nothing_is_loaded_from_anywhere(page: Page) -> None:
    for element in page.elements:
        assert element.name not in {"link", "iframe", "object", "embed", "base", "form"}
        assert not any(name.startswith("on") for name in element.attributes), element
        for name in _LOADS:
            value = element.attributes.get(name)
            assert value is None or value.startswith(("data:image/jpeg;base64,", "#")), (element.name, name, value)
    assert not re.search(r"url\(|@import|//[a-z]", page.all("style")[0].text)
    policy = str(next(each for each in page.all("meta") if "http-equiv" in each.attributes).attributes["content"])
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe-inline" not in policy.partition("script-src")[2]
    assert len(page.all("img")) == 27, "three pictures of three best, median and worst micrographs"


def test_every_section_is_there_and_linked(page: Page) -> None:
    ids = [each.attributes["id"] for each in page.all("section")]
    assert ids == [section.key for section in SECTIONS]
    assert [each.attributes["href"] for each in page.all("a")] == [f"#{key}" for key in ids]
    every_id = [each.attributes["id"] for each in page.elements if "id" in each.attributes]
    assert len(every_id) == len(set(every_id))


def test_every_number_of_every_stage_is_shown(page: Page) -> None:
    """All that the stages' Metrics can hold is declared, or drawn under its own name where it has values."""
    shown = page.section("quality") + page.section("numbers")
    for measure in MEASURES:
        if measure.key not in {"tilt_angle_deg", "thickness"}:  # this night has none
            assert measure.title in shown, measure.title
    covered = {pair for measure in MEASURES for pair in measure.covers}
    assert all(column in {field.name for field in dataclasses.fields(METRICS[table.removeprefix("metrics_")])}
               for table, column in covered)  # fmt: skip
    for title in ("defects (motion correction)", "astigmatism angle (ctf estimation)", "mean level (thumbnail)",
                  "edge resolution (fft)", "defocus sigma (ctf estimation)"):  # fmt: skip
        assert title in page.section("numbers")
    assert "is dose weighted" not in shown, "what is yes or no is no curve"


def test_a_number_that_a_later_stage_brings_is_drawn(tmp_path: Path, gathered: Gather, night: Night) -> None:
    night.fill()
    data = gathered()
    image_ids = [row["image_id"] for row in data.micrographs]
    answers = dict(data.answers)
    answers["metrics_particle_picking"] = dataclasses.replace(
        answers["metrics_fft"],
        columns=("image_id", "task_id", "particles", "box_ang"),
        rows=[(image_id, "t", number, 200.0) for number, image_id in enumerate(image_ids)],
    )
    page = Page(render_page(dataclasses.replace(data, answers=answers), SECTIONS))
    assert "particles (particle picking)" in page.section("numbers")
    assert "box (particle picking): 200 Å for all 60 micrographs" in page.section("numbers")


def test_gates_are_drawn_with_limits_and_counts(page: Page) -> None:
    drawn = {str(each.attributes["data-gate"]) for each in page.all("path", "quality", "gate")}
    assert drawn == {gate.name for gate in GATES} - {"ctf_score"}, "the score's is off"
    words = [each.text for each in page.all("text", "quality", "gate-word")]
    assert "gate ≤ 6" in words
    assert "gate ≥ 0.1" in words, "1000 Å, in the unit of the drawing"
    rows = {row[0]: row for row in page.rows("quality")}
    refused = ", ".join(f"24nov21a_{number:05d}" for number in (9, 19, 29, 39, 59))
    assert rows["ctf_resolution_ang"][2:] == ["at most 6 Å", "5", refused, "maria, 2024-11-21 14:41:00: thick ice"]
    assert rows["ice_ring"][2:] == ["at most 2", "0", "", "config.toml"]
    assert "A gate is a limit that one number of a micrograph is held to." in page.section("quality")
    assert rows["motion_correction"][1:4] == ["gave nothing to judge by", "", "2"]
    assert "53 of 60 micrographs that were judged pass every gate." in page.section("quality")
    fit = next(
        each
        for each in page.all("svg")
        if each.attributes["aria-labelledby"] == "fit_resolution_ang-t fit_resolution_ang-d"
    )
    crosses = [part for part in fit.children if part.attributes.get("class") == "cross hit"]
    assert len(str(crosses[0].attributes["data-i"]).split()) == 5
    pluses = [part for part in fit.children if part.attributes.get("class") == "plus hit"]
    assert str(pluses[0].attributes["data-i"]).split() == ["17", "47"], "fits that are not to be trusted"


def test_a_motion_not_relied_on_is_told_apart_from_remarks_that_do_no_harm(night: Night, gathered: Gather) -> None:
    night.fill()
    data = gathered()
    for number, said in ((3, "whole frame only: too weak"), (5, f"{NOT_RELIED_ON}: strangers"), (7, NOT_RELIED_ON)):
        data.micrographs[number]["motion_warning"] = said
    shown = Page(render_page(data, SECTIONS)).section("glance")
    assert f"The motion of 2 movies, the first {night.image(5)}, is not to be relied on: look at the" in shown
    assert "1 micrograph came with a remark about their motion" in shown


def test_what_was_doubted_and_is_mended_is_no_more_worth_a_look(night: Night, gathered: Gather) -> None:
    night.fill()
    given = {"note": ""}
    night.store.commit_now(
        PutNotification("n2", "warning", ABERRATION_IMPLAUSIBLE, "Cs of 0.0027 mm.", "", "s1", BEGIN_S + 1),
        PutNotification("n3", "warning", PIXEL_SIZE_CONTRADICTED, "8.3 Å/px is given.", "", "s1", BEGIN_S + 2),
        PutNotification("n4", "warning", PIXEL_SIZE_CONTRADICTED, "0.83 Å/px is given.", "", "s1", BEGIN_S + 3),
        PutDecision(
            "s1",
            FIRST_MOVIE,
            {ABERRATION_IMPLAUSIBLE: given | {"given": 0.0027}, PIXEL_SIZE_CONTRADICTED: given | {"given": 0.83}},
        ),
    )
    shown = Page(render_page(gathered(), SECTIONS)).section("glance")
    assert "No gain: " in shown
    assert "0.83 Å/px is given." in shown
    assert "8.3 Å/px is given." not in shown.replace("0.83", "")
    assert "0.0027" not in shown, "2.7 mm is given by now"


def test_optics_groups_tell_the_pixel_size_that_was_used_and_not_that_of_headers(
    night: Night, gathered: Gather
) -> None:
    night.fill()
    group = {"width_px": 5760, "height_px": 4092, "frame_count": 40, "pixel_size_ang": 1.0}
    night.store.commit_now(PutDecision("s1", "optics_groups", [group, group | {"frame_count": 50}]))
    rows = Page(render_page(gathered(), SECTIONS)).rows("acquisition")
    groups = [row for row in rows if "5760 × 4092" in row]
    assert [row[4] for row in groups] == ["0.83", "0.83"], "of micrographs, and where there are none yet, as stated"


def test_a_defocus_far_from_what_was_asked_for_is_worth_a_look(night: Night, gathered: Gather) -> None:
    night.fill()
    data = gathered()
    assert "median defocus measured" not in Page(render_page(data, SECTIONS)).section("glance")
    for row in data.micrographs:
        if row["ctf_confident"]:
            row["defocus_u_ang"], row["defocus_v_ang"] = 40_000.0, 38_000.0
    shown = Page(render_page(data, SECTIONS)).section("glance")
    assert "The median defocus measured is 3.9 µm" in shown
    assert "0.8 to 2.2 µm were asked for: the pixel size or Cs that is given may be wrong." in shown


def test_a_person_is_no_gate(night: Night, gathered: Gather) -> None:
    """Accepted over a gate, and rejected: told as that, wherever figures of the gates stand."""
    night.fill()
    over, by_hand = "ctf_resolution_ang: 9 Å", ("accepted by maria: only tilt", "rejected by juan: crack")
    night.store.commit_now(
        PutVerdict("s1", "i-s1-9", True, BY_HAND, f"{BY_HAND}: {by_hand[0]}"),
        PutVerdict("s1", "i-s1-19", False, "ctf_resolution_ang", over),
        PutVerdict("s1", "i-s1-1", False, BY_HAND, f"{BY_HAND}: {by_hand[1]}"),
    )
    data = gathered()
    page = Page(render_page(data, SECTIONS))
    quality = page.section("quality")
    assert "52 of 60 micrographs that were judged pass every gate; 1 more is accepted by hand." in quality
    rows = {row[0]: row for row in page.rows("quality")}
    assert (rows["ctf_resolution_ang"][3], rows[BY_HAND][1], rows[BY_HAND][3]) == ("4", "rejected by a person", "1")
    tiles = {each.children[1].text: each for each in page.all("div", "glance", "tile")}
    assert tiles["pass"].text.endswith("88 % of 60 judged, 1 by hand")
    verdicts = {row["name"]: _verdict(row) for row in data.micrographs}
    assert verdicts[night.image(9)] == "by hand: accepted by maria: only tilt"
    assert verdicts[night.image(1)] == "by hand: rejected by juan: crack"
    assert verdicts[night.image(19)] == f"refused: {over}"
    assert verdicts[night.image(0)] == "passes the gates"


def test_drawings_say_what_they_show(page: Page) -> None:
    for drawing in page.all("svg"):
        title, description = drawing.children[:2]
        assert drawing.attributes["role"] == "img"
        assert drawing.attributes["aria-labelledby"] == f"{title.attributes['id']} {description.attributes['id']}"
        assert title.text in description.text
        assert "micrographs" in description.text or "up to" in description.text


def test_text_from_outside_stays_text(store: Store, tmp_path: Path, gathered: Gather) -> None:
    night = Night(store, tmp_path / "home", 60, EVIL)
    night.fill()
    page = Page(text := render_page(gathered(), SECTIONS))
    assert not page.all("img")
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e\u2028]", text)
    assert page.all("title")[0].text.startswith("<img src=x onerror=alert(1)>&\"'␛[31m⟨U+202E⟩⟨U+2028⟩end")
    names = json.loads(next(each for each in page.all("script") if each.attributes.get("id") == "names").text)
    assert names["0"].startswith("<img src=x onerror")
    assert text.count("</script>") == 2
    assert EVIL not in text


def test_the_script_knows_the_names_of_all_points(filled: Night, page: Page) -> None:
    names = json.loads(next(each for each in page.all("script") if each.attributes.get("id") == "names").text)
    for path in page.all("path", class_="hit"):
        indices = str(path.attributes["data-i"]).split()
        assert len(indices) == str(path.attributes["d"]).count("M")
        assert all(names[index] == filled.image(int(index)) for index in indices)


def test_many_movies_make_no_large_page(store: Store, tmp_path: Path, gathered: Gather) -> None:
    Night(store, tmp_path / "home", 1700).fill(("ctf_estimation",))
    text = render_page(gathered(), SECTIONS)
    page = Page(text)
    assert len(text) < 400_000
    for drawing in page.all("svg", "quality"):
        assert sum(len(str(part.attributes.get("data-i", "")).split()) for part in drawing.children) <= MOST_DOTS + 300
    assert page.all("path", "quality", "band")
    assert "With this many micrographs" in page.section("quality")


def test_failures_are_told_by_cause_with_what_to_do(filled: Night, page: Page) -> None:
    rows = [row for row in page.rows("failures") if row[0] == "ctf estimation"]
    latest = f"{filled.image(49)}, {filled.image(24)}"
    assert rows[0][:5] == ["ctf estimation", "…: cannot be read: stale handle.", "Check the mount.", "2", latest]
    assert "elcano retry --session 24nov21a" in page.section("failures")
    assert "8 failures of 4 kinds" in page.section("failures")


def test_tilt_series_and_gaps_are_told(page: Page) -> None:
    assert "41 movies of tilt series or diffraction: recognised, and left alone." in page.section("left-alone")
    assert ["ignored", "belongs to a tilt series", "41", "ts_000.tif", "ts_040.tif"] in page.rows("left-alone")
    assert "1 gap" in page.section("acquisition")
    assert ["2024-11-21 14:45:48", "2024-11-21 15:46:00", "60 min"] in page.rows("acquisition")
    assert ["1", "60", "5760 × 4092", "40", "0.83", "/raw/g.mrc", ""] in page.rows("acquisition")


def test_provenance_has_parameters_versions_and_people(page: Page) -> None:
    rows = page.rows("provenance")
    assert ["0.1.0", "3", HASH, "58"] in [row[:4] for row in rows]
    assert ["lowest_defocus_ang", "3000"] in rows
    assert ["2024-11-21 14:41:00", "maria", "gates → ctf_resolution_ang 6", "thick ice"] in rows
    assert ["2024-11-21 16:40:00", "juan", "reprocess (3 tasks → pending)", "other colours"] in rows


def test_figures_at_a_glance(page: Page) -> None:
    tiles = {each.children[1].text: each.children[0].text for each in page.all("div", "glance", "tile")}
    assert tiles["movies"] == "60"
    assert tiles["pass the gates"] == "53"
    assert tiles["failed or damaged"] == "2"
    assert tiles["median defocus"].endswith("µm")
    assert tiles["file closed → CTF"] == "22 s"
    assert ["p99", "25 s"] in page.rows("speed")


def test_cancelled_steps_are_not_called_finished(night: Night, gathered: Gather) -> None:
    night.fill()
    assert "all finished" in Page(render_page(gathered(), SECTIONS)).section("glance")
    night.cancel(3, "fft")
    night.cancel(3, "thumbnail")
    night.cancel(4, "fft")
    glance = Page(render_page(gathered(), SECTIONS)).section("glance")
    assert "all finished" not in glance
    assert "2 with cancelled steps" in glance
    assert "elcano retry --session 24nov21a --cancelled" in glance


def test_medians_at_a_glance_are_those_under_the_drawings(page: Page) -> None:
    tiles = {each.children[1].text: each.children[0].text for each in page.all("div", "glance", "tile")}
    for words in ("defocus", "CTF fit resolution", "drift"):
        assert f"median {tiles[f'median {words}']}," in page.section("quality"), words


def test_fits_that_are_not_to_be_trusted_make_no_headline(night: Night, gathered: Gather) -> None:
    night.fill()
    some = {
        each.children[1].text: each.text
        for each in Page(render_page(gathered(), SECTIONS)).all("div", "glance", "tile")
    }
    assert some["median CTF fit resolution"].endswith("of 56 trusted fits")
    assert "trusted" not in some["median drift"]
    data = gathered()
    micrographs = data.answer("micrographs")
    at = micrographs.columns.index("ctf_confident")
    rows = [(*row[:at], None if row[at] is None else False, *row[at + 1 :]) for row in micrographs.rows]
    answers = {**data.answers, "micrographs": dataclasses.replace(micrographs, rows=rows)}
    page = Page(render_page(dataclasses.replace(data, answers=answers), SECTIONS))
    tiles = {each.children[1].text: each for each in page.all("div", "glance", "tile")}
    for words in ("median CTF fit resolution", "median defocus"):
        assert tiles[words].text == f"–{words}none of 58 fits is to be trusted"
    assert "No fit is to be trusted, and these are of such: median" in page.section("quality")
    (fit,) = (each for each in page.all("svg") if str(each.attributes["aria-labelledby"]).startswith("fit_resolution_"))
    hits = {str(each.attributes["class"]) for each in fit.children if each.attributes.get("data-i")}
    assert hits == {"plus hit"}


def test_the_pace_of_a_copy_is_not_called_that_of_the_microscope(night: Night, gathered: Gather) -> None:
    night.fill()
    data = gathered()
    tiles = {
        each.children[1].text: each.text for each in Page(render_page(data, SECTIONS)).all("div", "glance", "tile")
    }
    assert not tiles["movies per hour"].startswith("–")
    micrographs = data.answer("micrographs")
    at = micrographs.columns.index("written_s")
    rows = [(*row[:at], BEGIN_S + 0.1 * number, *row[at + 1 :]) for number, row in enumerate(micrographs.rows)]
    answers = {**data.answers, "micrographs": dataclasses.replace(micrographs, rows=rows)}
    page = Page(render_page(dataclasses.replace(data, answers=answers), SECTIONS))
    tiles = {each.children[1].text: each.text for each in page.all("div", "glance", "tile")}
    assert tiles["movies per hour"] == "–movies per hourcopied within 5.9 s: not the microscope's pace"


def test_a_session_without_movies(night: Night, gathered: Gather) -> None:
    night.begin()
    page = Page(render_page(gathered(), SECTIONS))
    assert "No movie has been seen yet in /raw/24nov21a." in page.section("glance")
    assert [each.attributes["id"] for each in page.all("section")] == ["glance", "acquisition"]
    assert not page.all("script")


def test_a_session_of_single_frames_says_so(night: Night, gathered: Gather) -> None:
    night.begin()
    for number in range(2):
        path = Path(f"/raw/24nov21a/sum_{number}.mrc")
        entry = LedgerEntry(
            f"x{number}", "s1", FileIdentity(path, 10, 1), 1, MovieState.IGNORED, SINGLE_IMAGE, None, BEGIN_S, BEGIN_S
        )
        night.store.commit_now(SeeMovie(entry))
    glance = Page(render_page(gathered(), SECTIONS)).section("glance")
    assert "No movie has been seen yet in /raw/24nov21a." in glance
    assert "2 images of a single frame, not movies, first /raw/24nov21a/sum_0.mrc" in glance
    assert "min_frames = 1" in glance


def test_a_session_without_any_numbers_yet(store: Store, tmp_path: Path, gathered: Gather) -> None:
    Night(store, tmp_path / "home", 1).fill(())
    page = Page(render_page(gathered(), SECTIONS))
    assert "No micrograph has a CTF yet" in page.section("micrographs")
    assert "No stage has given numbers yet" in page.section("quality")


def test_a_session_whose_ctf_is_to_come(night: Night, gathered: Gather) -> None:
    night.fill(("motion_correction",))
    page = Page(render_page(gathered(), SECTIONS))
    assert "Drift" in page.section("quality")
    assert "CTF fit resolution" not in [each.text for each in page.all("h3", "quality")]
    assert "No micrograph has been judged yet." in page.section("quality")
    assert "From file closed to CTF" not in page.section("speed")
    assert "60 in work" in page.section("glance")


def test_a_page_that_is_renewed_says_so_until_the_session_closes(night: Night, gathered: Gather) -> None:
    night.fill()
    live = Page(render_page(gathered(renewed_every_s=30), SECTIONS))
    assert [
        each.attributes["content"] for each in live.all("meta") if each.attributes.get("http-equiv") == "refresh"
    ] == ["30"]
    assert "renewed every 30 s" in live.all("header")[0].text
    assert live.all("span", class_="state")[0].text == "collecting"
    night.close()
    closed = Page(render_page(gathered(), SECTIONS))
    assert not [each for each in closed.all("meta") if each.attributes.get("http-equiv") == "refresh"]
    assert closed.all("span", class_="state")[0].text == SessionState.CLOSED
    assert "2024-11-22 15:40:00" in closed.section("acquisition")


def test_a_session_knows_nothing_of_another(store: Store, tmp_path: Path, gathered: Gather) -> None:
    Night(store, tmp_path / "one", 30).fill()
    Night(store, tmp_path / "two", 5, "other", "s2").fill()
    text = render_page(gathered("s2"), SECTIONS)
    page = Page(text)
    assert page.all("div", "glance", "tile")[0].children[0].text == "5"
    assert "24nov21a" not in text


def test_the_same_rows_give_the_same_page(filled: Night, tmp_path: Path) -> None:
    paths = [write_report(gather_of(filled.store), tmp_path / f"{turn}.html").path for turn in range(2)]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert paths[0].stat().st_size < 8 * 2**20


def test_by_default_it_lies_in_the_home(night: Night, gathered: Gather) -> None:
    night.fill(())
    written = write_report(gathered(), mode=0o640)
    assert written.path == night.home / "reports" / "24nov21a.html"
    assert written.path.stat().st_mode & 0o777 == 0o640
    assert written.size_bytes == written.path.stat().st_size
    assert [path.name for path in written.path.parent.iterdir()] == ["24nov21a.html"]


def test_a_section_is_a_declaration(night: Night, gathered: Gather) -> None:
    night.fill()
    later = Section(
        "classes", "2D classes", lambda data: Html(f"<p>{data.name}</p>"), needs=("metrics_classification_2d",)
    )
    assert not Page(render_page(gathered(), [later])).all("section")
    data = gathered()
    data = dataclasses.replace(data, answers={**data.answers, "metrics_classification_2d": data.answer("metrics_fft")})
    assert Page(render_page(data, [later])).section("classes") == "2D classes24nov21a"


def test_what_the_measures_rest_on_exists() -> None:
    assert {MOTION, CTF} <= {f"metrics_{stage.name}" for stage in MOVIE_STAGES}
    gates = {gate.name for gate in GATES}
    assert {name for measure in MEASURES for name in measure.gates} == gates, "every gate is drawn somewhere"
