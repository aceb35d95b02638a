"""Everything a person can do, once: key bindings, help, the line of keys and the command palette are read from here.

A screen that can do an action has a method `do_<name>`. `who` is checked before it runs, `confirm` marks what asks
first how many are meant.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from textual.binding import Binding

Who = Literal["viewer", "operator"]
ANYWHERE = "*"


@dataclass(frozen=True)
class Action:
    """One thing to do: its keys, in a word and in a sentence, who may, and on which screens."""

    name: str
    keys: str
    label: str
    help: str
    screens: tuple[str, ...]
    who: Who = "viewer"
    confirm: bool = False
    in_bar: bool = True
    """Whether the line of keys names it, as far as there is room."""

    @property
    def key_words(self) -> str:
        """The first key as people write it."""
        return self.all_key_words[0]

    @property
    def all_key_words(self) -> list[str]:
        """Every key of it as people write them."""
        return [_KEY_WORDS.get(key, key.replace("ctrl+", "^")) for key in self.keys.split(",")]


_KEY_WORDS = {
    "question_mark": "?",
    "slash": "/",
    "escape": "Esc",
    "enter": "Enter",
    "space": "Space",
    "asterisk": "*",
    "less_than_sign": "<",
    "greater_than_sign": ">",
    "plus": "+",
    "minus": "-",
    "right_square_bracket": "]",
    "left_square_bracket": "[",
    "left": "←",
    "right": "→",
    "equals_sign": "=",
    "delete": "Del",
    "tab": "Tab",
    "f1": "F1",
}

_LISTS = ("jobs", "job", "micrographs")
_TREES = ("import", "sessions", "artifacts")
_JUDGED = ("micrographs", "micrograph")
_GATED = ("curate",)

ACTIONS: tuple[Action, ...] = (
    Action(
        "open",
        "enter",
        "open",
        "Open what the cursor is on: a job, then a task.",
        (*_LISTS, *_TREES, "micrograph", "logs", "curate"),
    ),
    Action("back", "escape", "back", "Leave the filter, the selection, then this screen.", (ANYWHERE,)),
    Action(
        "filter",
        "slash",
        "filter",
        "Filter rows by words; in a job also by ctf:failed or -:done.",
        (*_LISTS, *_TREES, "logs"),
    ),
    Action(
        "choose_session",
        "o",
        "session…",
        "Choose another session, for micrographs, curation and artifacts alike.",
        ("micrographs", "artifacts", "curate"),
    ),
    Action(
        "search_next",
        "n",
        "next",
        "Go to the next row that has failed, or does not pass.",
        ("job", "micrographs", "curate"),
    ),
    Action(
        "search_previous",
        "N",
        "previous",
        "Go to the row before that has failed, or does not pass.",
        ("job", "micrographs", "curate"),
        in_bar=False,
    ),
    Action("sort", "s", "sort", "Sort by the next column; S turns the order.", _LISTS),
    Action("sort_turn", "S", "turn", "Turn the order of the rows.", _LISTS, in_bar=False),
    Action(
        "select",
        "space",
        "select",
        "Select the row, or take it out of the selection.",
        (*_LISTS, "artifacts"),
        in_bar=False,
    ),
    Action(
        "select_range",
        "v",
        "range",
        "Select from here to where v is pressed again.",
        (*_LISTS, "artifacts"),
        in_bar=False,
    ),
    Action(
        "select_all",
        "asterisk,ctrl+a",
        "all",
        "Select every row that the filter shows.",
        (*_LISTS, "artifacts"),
        in_bar=False,
    ),
    Action(
        "retry",
        "r",
        "retry",
        "Run again what failed or was cancelled: the task, the selected images, or a job's failed tasks.",
        ("jobs", "job", "task"),
        who="operator",
        confirm=True,
    ),
    Action(
        "cancel",
        "c",
        "cancel",
        "Give up what waits or runs: the task, the selected images, or the job.",
        ("jobs", "job", "task"),
        who="operator",
        confirm=True,
    ),
    Action(
        "rerun",
        "e",
        "re-run…",
        "Run a stage again with other parameters, and what depends on it.",
        ("job", "task"),
        who="operator",
        confirm=True,
    ),
    Action(
        "pause",
        "p",
        "pause",
        "Begin nothing new of a session; in a job, of the stage under the cursor. Again: go on.",
        ("jobs", "job", "sessions"),
        who="operator",
        confirm=True,
    ),
    Action(
        "complete",
        "m",
        "mark done",
        "Declare the job completed, whatever of it is open.",
        ("jobs",),
        who="operator",
        confirm=True,
    ),
    Action("next_image", "right,j", "next", "Show the next micrograph of the list.", ("micrograph",)),
    Action("previous_image", "left,k", "previous", "Show the micrograph before in the list.", ("micrograph",)),
    Action("next_picture", "z", "picture", "Show one picture alone, then the next, then all.", ("micrograph",)),
    Action("previous_picture", "Z", "picture before", "Show the picture before.", ("micrograph",), in_bar=False),
    Action(
        "accept",
        "a",
        "accept",
        "Accept micrographs by hand: they pass whatever the gates say. Several are asked for first.",
        _JUDGED,
        who="operator",
    ),
    Action(
        "reject",
        "x",
        "reject",
        "Reject micrographs by hand: later steps skip them whatever the gates say. Several are asked for first.",
        _JUDGED,
        who="operator",
    ),
    Action("unmark", "u", "undo", "Leave micrographs to the gates again.", _JUDGED, who="operator"),
    Action("why", "w", "why…", "Say why micrographs are accepted or rejected from now on.", _JUDGED, who="operator"),
    Action(
        "import",
        "i",
        "IMPORT DATA",
        "Import the session under the cursor, once it was said what that means.",
        ("import",),
        who="operator",
        confirm=True,
    ),
    Action("import_as", "I", "import as…", "Likewise, under another name.", ("import",), who="operator", confirm=True),
    Action("open_job", "o", "job", "Open the job of the session.", ("sessions",)),
    Action(
        "rename",
        "t",
        "title…",
        "Give the session another title; its name, folders and files stay.",
        ("sessions",),
        who="operator",
    ),
    Action(
        "close_session",
        "c",
        "close",
        "Expect no more movies of the session: it is closed when all that is owed is done.",
        ("sessions",),
        who="operator",
        confirm=True,
    ),
    Action("write_report", "w", "report", "Write the HTML report of the session.", ("sessions",), who="operator"),
    Action("next_section", "right_square_bracket", "next slice", "Show the next section of a volume.", ("artifacts",)),
    Action(
        "previous_section",
        "left_square_bracket",
        "slice before",
        "Show the section of a volume before.",
        ("artifacts",),
        in_bar=False,
    ),
    Action(
        "copy",
        "y",
        "copy",
        "Copy paths to the clipboard: of output files, of a session.",
        ("task", "sessions", "artifacts"),
    ),
    Action("pane", "tab", "other pane", "Go to the other pane: the log, or the notifications.", ("logs",)),
    Action("hold", "f", "hold", "Hold the log where it is, or follow it again.", ("logs",)),
    Action("level", "w", "level", "Show warnings and errors only, then errors only, then every level.", ("logs",)),
    Action("read", "i", "read", "Read the whole line, and what was noted with it.", ("logs",)),
    Action("copy_line", "y", "copy", "Copy the line, or the notification.", ("logs",), in_bar=False),
    Action("mark_read", "x", "mark read", "Mark every notification as read.", ("logs",), in_bar=False),
    Action("limit_up", "plus,equals_sign", "up", "Move the limit under the cursor up; > moves it far.", _GATED),
    Action("limit_down", "minus", "down", "Move the limit under the cursor down; < moves it far.", _GATED),
    Action("limit_far_up", "greater_than_sign", "far up", "Move the limit up by ten steps.", _GATED, in_bar=False),
    Action("limit_far_down", "less_than_sign", "far down", "Move the limit down by ten steps.", _GATED, in_bar=False),
    Action("limit_type", "e", "type…", "Type the limit under the cursor: a number, or off.", _GATED),
    Action("limit_off", "0,delete", "off/on", "Switch the gate under the cursor off, or on again.", _GATED),
    Action("limit_default", "d", "default", "Move the limit to where config.toml has it.", _GATED, in_bar=False),
    Action(
        "apply",
        "a",
        "apply",
        "Let the limits that were moved hold as gates, from now on and for what is there.",
        _GATED,
        who="operator",
        confirm=True,
    ),
    Action(
        "undo",
        "u",
        "undo",
        "Go back to the gates before the last move, whoever made it; again: back to that.",
        _GATED,
        who="operator",
        confirm=True,
    ),
    Action("axis", "x", "x axis", "Put the next measure on the x axis; after the last one, time.", _GATED),
    Action("scope", "w", "all sessions", "Show and move the gates of all sessions, or of one again.", _GATED),
    Action("window", "w", "window", "Look back over another time: an hour, six, a day.", ("live",)),
    Action(
        "pause_node",
        "p",
        "pause",
        "Begin nothing new at all, for maintenance; what runs is finished. Again: go on.",
        ("nodes", "live"),
        who="operator",
        confirm=True,
    ),
    Action("scroll_details", "space", "more", "Show more of the details; after their end the beginning.", ("nodes",)),
    Action("help", "question_mark,f1", "help", "Show every key of this screen.", (ANYWHERE,)),
    Action("theme", "ctrl+t", "light/dark", "Change between light and dark.", (ANYWHERE,), in_bar=False),
    Action("leave", "q,ctrl+q", "quit", "Leave the terminal; the daemon goes on.", (ANYWHERE,)),
)


def actions_of(screen: str, registry: Iterable[Action] = ACTIONS) -> list[Action]:
    """Return what can be done on a screen: its own first, then what can be done anywhere."""
    known = list(registry)
    return [a for a in known if screen in a.screens] + [a for a in known if ANYWHERE in a.screens]


def action_named(name: str) -> Action:
    """Return an action. Raises KeyError."""
    return {action.name: action for action in ACTIONS}[name]


def bindings_of(screen: str) -> list[Binding]:
    """Return the key bindings of a screen."""
    return [Binding(a.keys, f"act('{a.name}')", a.label, show=a.in_bar) for a in actions_of(screen)]


def why_not(action: Action, *, is_viewer: bool, is_connected: bool) -> str:
    """Say why an action cannot be done now; empty when it can."""
    if action.who == "operator" and is_viewer:
        return f"You are a viewer: to {action.label.rstrip('…')} takes the operator's credentials."
    if action.who == "operator" and not is_connected:
        return "There is no connection to the daemon: wait until the banner is gone."
    return ""
