"""`elcano`: hands over to the command line, and turns every expected error into one sentence."""

import os
import sys

from daemon.errors import ConfigurationInvalid, ElcanoError


def main() -> None:
    """Run the command line; exit 0 (ok), 1 (found a problem) or 2 (wrong use)."""
    # Threads that wait for each other must sleep, not spin: on a machine that others use too, spinning makes a
    # computation many times slower. The OpenMP runtime reads this once, when the first array library is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from daemon.cli.app import application

    try:
        application()
    except ElcanoError as error:
        print(f"elcano: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, ConfigurationInvalid) else 1)
    except BrokenPipeError:
        # The reader of our output has seen enough (`elcano query … | head`).
        sys.stderr.close()
        sys.exit(0)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
