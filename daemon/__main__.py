"""`elcano`: hands over to the command line, and turns every expected error into one sentence."""

import os
import sys
import threading
from collections.abc import Iterator

from daemon.domain.names import spell_controls
from daemon.errors import MUST_RESTART, ConfigurationInvalid, ElcanoError, StageHung


def main() -> None:
    """Run the command line; exit 0 (ok), 1 (found a problem), 2 (wrong use) or 75 (start the daemon again)."""
    # Threads that wait for each other must sleep, not spin: on a machine that others use too, spinning makes a
    # computation many times slower. The OpenMP runtime reads this once, when the first array library is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from daemon.cli.app import application

    try:
        application()
    except ElcanoError as error:
        sys.exit(_tell(error))
    except BaseExceptionGroup as group:
        expected = [error for error in _leaves(group) if isinstance(error, ElcanoError)]
        if len(expected) < len(list(_leaves(group))):
            raise
        sys.exit(max([_tell(error) for error in {str(error): error for error in expected}.values()]))
    except BrokenPipeError:
        # The reader of our output has seen enough (`elcano query … | head`).
        sys.stderr.close()
        sys.exit(0)
    except KeyboardInterrupt:
        sys.exit(130)


def start() -> None:
    """Be the process: as `main`, but threads that hang, in a file system or a computation, are not waited for."""
    try:
        main()
    except SystemExit as end:
        if isinstance(end.code, str) or threading.active_count() == 1:
            raise
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code or 0)


def _tell(error: ElcanoError) -> int:
    """Say what is wrong and return the exit code."""
    print(spell_controls(f"elcano: {error}", keep="\n"), file=sys.stderr)
    if isinstance(error, StageHung):
        return MUST_RESTART
    return 2 if isinstance(error, ConfigurationInvalid) else 1


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


if __name__ == "__main__":
    start()
