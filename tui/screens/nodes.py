"""Nodes: which machines live, what they have, and what is paused."""

from collections.abc import Mapping, Sequence
from typing import Any

from textual.app import ComposeResult
from textual.containers import VerticalScroll

from daemon.errors import ElcanoError
from daemon.messages.event_data import NodeHeartbeat
from tui.core.live_lines import Line, Section, lay_out, node_lines
from tui.core.live_lines import table as set_columns
from tui.core.load import age_s, is_stale, verdict_words
from tui.core.model import Changes
from tui.core.spans import show_bytes, show_moment, show_span
from tui.core.text import show_line
from tui.screens.base import ElcanoScreen
from tui.screens.pausing_node import toggle_node
from tui.widgets.line_table import LineTable, TableColumn
from tui.widgets.lines import Lines
from tui.widgets.tones import Piece

_NONE = "No heartbeat yet: a daemon tells one every 15 s."
_COLUMNS = (
    TableColumn("host", "node", 18, fixed=True),
    TableColumn("state", "state", 22),
    TableColumn("version", "version", 9),
    TableColumn("uptime", "up", 8, right=True),
    TableColumn("cpu", "CPU", 6, right=True),
    TableColumn("memory", "memory", 10, right=True),
    TableColumn("device", "computes on", 20),
    TableColumn("queue", "waiting", 8, right=True),
    TableColumn("work", "in work", 8, right=True),
)
_ASK_EVERY_S = 60.0


class NodesScreen(ElcanoScreen):
    """One line for each machine that ever told a heartbeat to this terminal; details of the one under the cursor."""

    NAME = "nodes"
    FOLLOWS = True

    def __init__(self) -> None:
        super().__init__()
        self._proof: Mapping[str, Any] | None = None
        self._proof_trouble = ""
        self._line_count = 0

    def compose_body(self) -> ComposeResult:
        """Nodes above, details below."""
        yield LineTable(self._cell)
        with VerticalScroll(id="node-body", can_focus=False):
            yield Lines(self._details, fit=True, id="node-lines")
        yield Lines(self._footline, fit=True, id="footline")

    def on_mount(self) -> None:
        """The nodes take the keys."""
        self.table.set_columns(_COLUMNS)
        self.table.focus()
        self.set_interval(_ASK_EVERY_S, self._ask_if_seen)

    @property
    def table(self) -> LineTable:
        """The nodes."""
        return self.query_one(LineTable)

    @property
    def beats(self) -> list[NodeHeartbeat]:
        """The latest heartbeat of each node."""
        return [self.model.nodes[host] for host in sorted(self.model.nodes)]

    def draw_all(self) -> None:
        """Draw what is known; ask how the mounts are."""
        self.table.empty = _NONE if self.model.link.is_connected else ""
        self._draw()
        self._ask()

    def draw_changes(self, changes: Changes) -> None:
        """Draw heartbeats and pauses."""
        if changes.nodes or changes.queues or changes.link:
            self._draw()

    def draw_time(self) -> None:
        """Draw ages."""
        self._draw()

    def on_line_table_moved(self, _: LineTable.Moved) -> None:
        """Draw the details of another node."""
        self.query_one("#node-lines", Lines).draw()

    def do_pause_node(self) -> None:
        """Pause the node, or go on."""
        toggle_node(self)

    def do_scroll_details(self) -> None:
        """Show more of the details, from the top again after the end."""
        body = self.query_one("#node-body", VerticalScroll)
        if body.scroll_y >= body.max_scroll_y:
            body.scroll_home(animate=False)
        else:
            body.scroll_page_down(animate=False)
        self.call_after_refresh(self.query_one("#footline", Lines).draw)

    def _ask_if_seen(self) -> None:
        if self.app.screen is self:
            self._ask()

    def _ask(self) -> None:
        if self.model.link.is_connected:
            self.run_beside(self._renew, group="mounts")

    async def _renew(self) -> None:
        try:
            self._proof = await self.terminal.link.ask("mount.proof", {})
            self._proof_trouble = ""
        except ElcanoError as error:
            self._proof_trouble = str(error)
        if self.is_ready:
            self._draw()

    def _draw(self) -> None:
        rows = list(range(len(self.beats)))
        self.table.show(rows, rows)
        self.table.styles.height = max(3, min(len(rows) + 1, self.size.height // 3))
        self.query_one("#node-lines", Lines).draw()
        self.call_after_refresh(self.query_one("#footline", Lines).draw)

    def _cell(self, row: int, key: str) -> Sequence[Piece]:
        beat, now_s = self.beats[row], self.terminal.stood_s()
        if key == "state":
            return self._state(beat, now_s)
        words = {
            "host": show_line(beat.host, 60),
            "version": show_line(beat.version, 20),
            "uptime": show_span(beat.uptime_s + age_s(beat, now_s)),
            "cpu": "–" if beat.cpu_percent is None else f"{beat.cpu_percent:.0f} %",
            "memory": show_bytes(beat.memory_used_bytes),
            "device": ", ".join(show_line(device.name, 40) for device in beat.devices) or "–",
            "queue": str(beat.queues.get("waiting", "–")),
            "work": str(beat.queues.get("in_flight", "–")),
        }
        return [(words[key], "dim" if is_stale(beat, now_s) else "plain")]

    def _state(self, beat: NodeHeartbeat, now_s: float) -> list[Piece]:
        if self.model.link.is_cut:
            return [("? not known now", "warning")]
        if is_stale(beat, now_s):
            return [(f"⚠ silent for {show_span(age_s(beat, now_s))}", "warning")]
        if self.model.pause_of(None) is not None:
            return [("‖ paused", "warning")]
        if beat.outlook is not None and beat.outlook.is_behind:
            return [("⚠ falling behind", "warning")]
        return [("✓ alive", "done"), (f"  {show_span(age_s(beat, now_s))} ago", "dim")]

    def _details(self, width: int) -> Sequence[Sequence[Piece]]:
        row, beats = self.table.cursor_row, self.beats
        if row is None or row >= len(beats):
            return []
        beat, now_s = beats[row], self.terminal.stood_s()
        name = f"instance {show_line(beat.instance, 40)}, elcano {show_line(beat.version, 40)}, process {beat.pid}"
        last = f"last heartbeat {show_moment(beat.ts.timestamp(), now_s)}, {show_span(age_s(beat, now_s))} ago"
        head: list[Line] = [[(name, "plain")], [(last, "plain")]]
        if beat.outlook is not None and not self.model.link.is_cut and (words := verdict_words(beat.outlook)):
            head.append(words)
        sections = [
            Section(show_line(beat.host, 60), head),
            Section("load and mounts", node_lines(beat, now_s)),
            Section("proof that every node sees the same home", self._proof_lines(now_s)),
            Section("steps", self._steps(beat.host)),
            Section("paused", self._pauses(now_s)),
        ]
        lines = lay_out(sections, width)
        self._line_count = len(lines)
        return lines

    def _proof_lines(self, now_s: float) -> list[Line]:
        if self._proof_trouble:
            return [[(f"✗ {show_line(self._proof_trouble, 200)}", "failed")]]
        if self._proof is None:
            return [[("asking…", "dim")]]
        told, nonce = self._proof, self._proof.get("proof")
        where = f"{show_line(told['home'], 100)} on {show_line(told['host'], 40)}"
        if nonce is None:
            return [[(f"✗ {where}: {show_line(told.get('trouble') or 'nothing is written there', 200)}", "failed")]]
        return [
            [(f"✓ {where}", "done")],
            [(f"written and read back {show_moment(nonce['written_at'], now_s)}; `elcano doctor` compares", "dim")],
        ]

    def _steps(self, host: str) -> list[Line]:
        rows = [
            (beat.stage, str(beat.waiting), str(beat.running), str(beat.completed), str(beat.failed))
            for beat in self.model.stages.values()
            if beat.host == host
        ]
        if not rows:
            return [[("no step has told of itself yet", "dim")]]
        return set_columns(("", "waiting", "running", "done", "failed"), rows)

    def _pauses(self, now_s: float) -> list[Line]:
        lines: list[Line] = []
        for pause in self.model.queues.paused:
            what = " of ".join(word for word in (pause["stage"], pause["session"]) if word) or "the node"
            why = f": {show_line(pause['why'], 120)}" if pause["why"] else ""
            since = show_moment(pause["since_s"], now_s)
            words = f"‖ {show_line(what, 80)} since {since} by {show_line(pause['asked_by'], 60)}{why}"
            lines.append([(words, "warning")])
        return lines or [[("nothing", "dim")]]

    def _footline(self, width: int) -> Sequence[Sequence[Piece]]:
        del width
        body = self.query_one("#node-body", VerticalScroll)
        hidden = self._line_count - body.size.height - round(body.scroll_y)
        words = f" ▼ {hidden} more lines: Space shows them" if hidden > 0 and body.size.height else ""
        return [[(words, "dim")]]  # there in any case, so that it takes no line from what it counts
