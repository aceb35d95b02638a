"""What people mistype in session.json is said in their words, at the place where it stands."""

import json

import pytest

from daemon.sessions.json_mistakes import explain_json


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '{\n"voltage_kv": 300,\n}',
            "line 2, column 18: is not JSON: the comma before the closing } is one too many (take it out)",
        ),
        ("[1,\n2, ]", "line 2, column 2: is not JSON: the comma before the closing ] is one too many (take it out)"),
        (
            '{"voltage_kv": 300,\n "cs": 2,7}',
            "line 2, column 8: is not JSON: a number has a point, not a comma (write 2.7)",
        ),
        ("{'a': 1}", "line 1, column 2: is not JSON: a key is wanted here (keys stand in double quotes)"),
        ('{"a": 1\n "b": 2}', "line 2, column 2: is not JSON: a comma is missing before this"),
        ('{"a": [1', "line 1, column 9: is not JSON: the file ends too early"),
        ('{"a": 300 kV}', "line 1, column 11: is not JSON: a comma is missing before this"),
        ('{"a": "b}', "line 1, column 7: is not JSON: a text begins here and does not end"),
    ],
)
def test_mistakes(text: str, said: str) -> None:
    with pytest.raises(json.JSONDecodeError) as caught:
        json.loads(text)
    assert str(explain_json(caught.value)).startswith(said)
