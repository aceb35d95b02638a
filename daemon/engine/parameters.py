"""Which parameters a stage runs with: as configured, changed since for all or for one session, or for one task alone.

What people set outlives a restart. A key whose configured value has changed since is the file's again: whoever
edits config.toml is the last to have spoken.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import structlog
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from daemon.config.problems import problem_from
from daemon.domain.identity import parameters_hash
from daemon.engine.work import StageSettings
from daemon.errors import CommandRefused
from daemon.pipeline.graph import AnyStage
from daemon.pipeline.stage import StageParams
from daemon.store.changes import SetControl
from daemon.store.rows import ControlRow, TaskRow

log = structlog.get_logger(__name__)

Values = Mapping[str, Any]


class ParameterBook:
    """The parameters of all stages, layer over layer; everything here runs on the event loop."""

    def __init__(self, stages: Sequence[tuple[AnyStage, StageParams]], controls: Iterable[ControlRow]) -> None:
        """`controls` is what people have set, as the store has it; what does not fit any more is left out."""
        self._stages = {stage.name: stage for stage, _ in stages}
        self._configured = {stage.name: params for stage, params in stages}
        self._set: dict[tuple[str, str | None], dict[str, Any]] = {}
        self._resolved: dict[tuple[str, str | None], StageParams] = {}
        self._misfits: list[str] = []
        for row in controls:
            if row.kind == "parameters" and row.stage in self._stages:
                self._restore(row.stage, row)
        for stage, session_id in list(self._set):
            self._of_session(stage, session_id)

    def settings_for(self, session_id: str, owed: Iterable[TaskRow]) -> StageSettings:
        """Return what the tasks of one movie run with, from now until its visit is over."""
        own = {task.stage: task.parameters for task in owed if task.parameters}
        parameters: dict[str, StageParams] = {}
        for name in self._stages:
            parameters[name] = self._of_session(name, session_id)
            if name in own:
                try:
                    parameters[name] = self.check(name, own[name], session_id)
                except CommandRefused as error:
                    # They were checked when they were set; the stage's own rules have changed since.
                    log.warning(
                        "parameters set for this movie do not fit the step any more; it runs without them",
                        stage=name,
                        reason=error.message,
                    )
        return StageSettings(
            parameters, {name: hash_parameters(self._stages[name], params) for name, params in parameters.items()}
        )

    def check(self, stage: str, values: Values, session_id: str | None = None) -> StageParams:
        """Return the parameters of a stage with these values laid over them. Raises CommandRefused for a wrong one."""
        guarded = sorted(type(self._configured[stage]).file_only() & set(values))
        if guarded:
            raise CommandRefused(
                f"{guarded[0]} of {stage} names what runs on this machine: no command may change it.",
                hint=f"Set it under [stages.{stage}] in config.toml and reload.",
            )
        return self._lay_over(stage, self._of_session(stage, session_id), values)

    def take_misfits(self) -> list[str]:
        """Return, once, what was set and is left out because it does not fit any more."""
        taken, self._misfits = self._misfits, []
        return taken

    def standing(self, stage: str, session_id: str | None = None) -> Values:
        """Return what people have set and what holds still."""
        return dict(self._set.get((stage, session_id), {}))

    def described(self, stage: str) -> dict[str, Any]:
        """Return the JSON Schema of a stage's parameters, without those that only the file may set."""
        kind = type(self._configured[stage])
        schema = kind.model_json_schema()
        guarded = kind.file_only()
        properties = {key: value for key, value in schema.get("properties", {}).items() if key not in guarded}
        return {**schema, "properties": properties}

    def plan_configured(self, stage: str, params: StageParams, *, asked_by: str, why: str) -> list[SetControl]:
        """Return what to commit before `take_configured`: the file's new values, and an end of what stood over them.

        Raises CommandRefused when what was set for all, or for a session, does not fit them.
        """
        kept = self._kept(stage, params)
        self._check_sessions(stage, self._lay_over(stage, params, kept))
        value = self._stored(kept, params) if kept else None
        return [SetControl("parameters", None, stage, value, asked_by, why)]

    def take_configured(self, stage: str, params: StageParams) -> None:
        """Let new configured parameters hold."""
        self._set[stage, None] = self._kept(stage, params)
        self._configured[stage] = params
        self._resolved.clear()

    def plan_values(
        self, stage: str, values: Values, session_id: str | None, *, asked_by: str, why: str
    ) -> list[SetControl]:
        """Return what to commit before `take_values`.

        Raises CommandRefused for a value that the stage refuses, alone or with what a session has set.
        """
        checked = self.check(stage, values, session_id)
        if session_id is None:
            self._check_sessions(stage, checked)
        merged = {**self._set.get((stage, session_id), {}), **values}
        stored = self._stored(merged, self._configured[stage])
        return [SetControl("parameters", session_id, stage, stored, asked_by, why)]

    def take_values(self, stage: str, values: Values, session_id: str | None) -> None:
        """Let values hold that were committed."""
        self._set[stage, session_id] = {**self._set.get((stage, session_id), {}), **values}
        self._resolved.clear()

    def _restore(self, stage: str, row: ControlRow) -> None:
        configured = self._configured[stage].model_dump(mode="json")
        over: Values = row.value["over"]
        # A session's own values stand whatever the file says for all.
        self._set[stage, row.session_id] = {
            key: value
            for key, value in row.value["values"].items()
            if row.session_id is not None or over.get(key) == configured.get(key)
        }

    def _kept(self, stage: str, params: StageParams) -> dict[str, Any]:
        """Return what stays of the values set for all when the file says this: a key it changes is its own again."""
        before, after = self._configured[stage].model_dump(), params.model_dump()
        standing = self._set.get((stage, None), {})
        return {key: value for key, value in standing.items() if before.get(key) == after.get(key)}

    def _check_sessions(self, stage: str, for_all: StageParams) -> None:
        """Raise CommandRefused when a session's own values do not fit what all others are to run with."""
        for (name, session_id), values in self._set.items():
            if name != stage or session_id is None:
                continue
            try:
                self._lay_over(stage, for_all, values)
            except CommandRefused as error:
                listed = ", ".join(f"{key} = {value!r}" for key, value in values.items())
                raise CommandRefused(
                    f"It does not go together with what session {session_id} has set ({listed}): {error.message}",
                    hint="Set other values for that session first.",
                ) from error

    @staticmethod
    def _stored(values: Values, configured: StageParams) -> dict[str, Any]:
        """Return what is kept of values: they, and what the file said of these keys."""
        said = configured.model_dump(mode="json")
        return {"values": dict(values), "over": {key: said.get(key) for key in values}}

    def _of_session(self, stage: str, session_id: str | None) -> StageParams:
        key = (stage, session_id if (stage, session_id) in self._set else None)
        if key not in self._resolved:
            below = self._configured[stage] if key[1] is None else self._of_session(stage, None)
            try:
                self._resolved[key] = self._lay_over(stage, below, self._set.get(key, {}))
            except CommandRefused as error:
                # It was checked when it was set; the file, or the stage's own rules, have changed since.
                self._leave_out(key, error)
                return below
        return self._resolved[key]

    def _leave_out(self, key: tuple[str, str | None], error: CommandRefused) -> None:
        stage, session_id = key
        whom = "all sessions" if session_id is None else f"session {session_id}"
        listed = ", ".join(f"{name} = {value!r}" for name, value in self._set.pop(key).items())
        log.error("parameters that were set do not fit any more", stage=stage, session=session_id, reason=error.message)
        self._misfits.append(f"{stage} runs without {listed}, set for {whom}: {error.message}")

    def _lay_over(self, stage: str, params: StageParams, values: Values) -> StageParams:
        if not values:
            return params
        text = json.dumps({**params.model_dump(mode="json"), **values})
        try:
            # As JSON and strictly, as config.toml is read: "yes" is no truth value and 1.5 no count.
            return type(params).model_validate_json(text, strict=True)
        except ValidationError as error:
            wrong = error.errors()
            said = "; ".join(_say_wrong(item, type(params)) for item in wrong)
            is_unknown = any(item["type"] == "extra_forbidden" for item in wrong)
            hint = f"`elcano parameters {stage}` shows what it takes." if is_unknown else ""
            raise CommandRefused(f"{stage} does not take this: {said}.", hint=hint) from error


def _say_wrong(wrong: ErrorDetails, params: type[StageParams]) -> str:
    """Say it as `config check` does; what no key alone is to blame for, in the words of the stage's own rule."""
    if wrong["loc"]:
        return str(problem_from(wrong, params))
    return str(wrong.get("ctx", {}).get("error", wrong["msg"])).rstrip(".")


def hash_parameters(stage: AnyStage, params: StageParams) -> str:
    """Return the hash that marks what a stage of this version made with these parameters."""
    return parameters_hash({"stage": stage.name, "version": stage.version, **params.model_dump(mode="json")})
