"""Commands of other people's programs, from a list of arguments with placeholders; never a shell string.

Each item of a template is one argument and stays one, whatever its values hold. `{name}` stands for a value; a literal
brace is doubled. Where a value is not known (None), its argument is left out, and so is the option before it.
"""

import re
import string
from collections.abc import Mapping, Sequence

Value = str | int | float | None

_OPTION = re.compile(r"-[A-Za-z-]")


def placeholders(template: Sequence[str]) -> tuple[str, ...]:
    """Names of the placeholders of a template in order, each once. Raises ValueError where braces don't match."""
    found: dict[str, None] = {}
    for item in template:
        for _, name, form, conversion in string.Formatter().parse(item):
            if name is None:
                continue
            if not name.isidentifier() or form or conversion:
                raise ValueError(f"{item!r} holds {{{name}}}: a placeholder is a plain name between braces")
            found[name] = None
    return tuple(found)


def check_template(template: Sequence[str], known: Sequence[str]) -> None:
    """Raise ValueError for a template that names no program first, or a placeholder that is not known."""
    if not template or not template[0] or placeholders(template[:1]):
        raise ValueError("the first item of a command is the program, without a placeholder")
    unknown = [name for name in placeholders(template) if name not in known]
    if unknown:
        raise ValueError(f"{{{unknown[0]}}} is no value of this command; it has {', '.join(sorted(known))}")
    if any("\0" in item for item in template):
        raise ValueError("an argument can't hold a zero byte")


def fill_template(template: Sequence[str], values: Mapping[str, Value]) -> tuple[str, ...]:
    """Return the arguments, program first. Raises ValueError as `check_template` does, and for a value's zero byte."""
    check_template(template, tuple(values))
    arguments: list[str] = []
    for item in template:
        if any(values[name] is None for name in placeholders([item])):
            if arguments and len(arguments) > 1 and _OPTION.match(arguments[-1]):
                arguments.pop()
            continue
        argument = item.format(**{name: _write(value) for name, value in values.items()})
        if "\0" in argument:
            raise ValueError(f"the argument {item!r} would hold a zero byte")
        arguments.append(argument)
    return tuple(arguments)


def _write(value: Value) -> str:
    """Numbers in the shortest form that says them, never with an exponent's surprise for whole ones."""
    return f"{value:.10g}" if isinstance(value, float) else str(value)
