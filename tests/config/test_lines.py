"""Which line a key stands on, whatever TOML it is written in."""

import tomllib

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from daemon.config.lines import key_lines, line_of
from daemon.config.reference import write_reference

TEXT = """\
top = 1
[paths] # where
gpfs = "a # b"  # a remark with = and ["
"home" = '''
[watch]
x = 3
'''

[watch]
roots = [ # one
  "a]", 'b',
]
settle.min_quiet_s = 3
[watch."odd # name".inner]
x = { y = 1, z = "}" }
[[session]]
directory = "a"
[session.acquisition]
gain = { path = "g" }
[[session]]
[session.acquisition.eer]
fractions = 3
note = \"\"\"ends in a quote\\\\\"\"\"\"
last = 1"""


def test_every_key_has_its_line() -> None:
    tomllib.loads(TEXT)
    assert key_lines(TEXT) == {
        ("top",): 1,
        ("paths",): 2,
        ("paths", "gpfs"): 3,
        ("paths", "home"): 4,
        ("watch",): 9,
        ("watch", "roots"): 10,
        ("watch", "settle"): 13,
        ("watch", "settle", "min_quiet_s"): 13,
        ("watch", "odd # name"): 14,
        ("watch", "odd # name", "inner"): 14,
        ("watch", "odd # name", "inner", "x"): 15,
        ("session",): 16,
        ("session", 0): 16,
        ("session", 0, "directory"): 17,
        ("session", 0, "acquisition"): 18,
        ("session", 0, "acquisition", "gain"): 19,
        ("session", 1): 20,
        ("session", 1, "acquisition"): 21,
        ("session", 1, "acquisition", "eer"): 21,
        ("session", 1, "acquisition", "eer", "fractions"): 22,
        ("session", 1, "acquisition", "eer", "note"): 23,
        ("session", 1, "acquisition", "eer", "last"): 24,
    }


def test_what_has_no_line_of_its_own_has_that_of_what_it_stands_in() -> None:
    lines = key_lines(TEXT)
    assert line_of(("session", 0, "acquisition", "gain", "path"), lines) == 19
    assert line_of(("session", 1, "directory"), lines) == 20
    assert line_of(("bus", "url"), lines) is None


class NoParams(BaseModel):
    """Nothing to set."""


def test_the_documented_configuration_has_each_key_where_it_says_so() -> None:
    text = write_reference({"fft": NoParams})
    written = text.splitlines()
    lines = key_lines(text)
    assert len(lines) > 40
    for place, line in lines.items():
        assert str(place[-1]) in written[line - 1]


_WORDS = st.text(alphabet="ab\"'[]{}#=,\\\n. ", max_size=12)


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(_WORDS, st.sampled_from(["basic", "literal", "long", "list", "table"])), max_size=6))
def test_values_of_any_kind_hide_no_key(values: list[tuple[str, str]]) -> None:
    text, expected = "", {}
    for n, (word, kind) in enumerate(values):
        quoted = '"' + word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
        literal = "'" + word.replace("'", "").replace("\n", "") + "'"
        long = "'''\n" + word.replace("'", "") + "'''"
        value = {"basic": quoted, "literal": literal, "long": long, "list": f"[\n{quoted}, # ]\n{literal}\n]"}.get(
            kind, f"{{ a = {quoted} }}"
        )
        text += f"\n# [remark] = {n}\n"
        expected[f"key{n}",] = text.count("\n") + 1
        text += f"key{n} = {value} # end\n"
    tomllib.loads(text)
    assert key_lines(text) == expected
