"""The `codehealer` program."""

import sys

from bot.cli import app
from bot.logs import set_up_logs
from knowledge.errors import BadInput, CodeHealerError


def main() -> None:
    """Run one command. Exit status: 0 done, 1 it failed, 2 wrong use or unreadable input."""
    # Until `run` reads how it is wanted: unconfigured, log lines would go to standard output, among the data.
    set_up_logs("WARNING", "auto")
    try:
        app(prog_name="codehealer")
    except CodeHealerError as error:
        print(f"codehealer: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(2 if isinstance(error, BadInput) else 1)
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        # Here at the latest: a full disk or a closed terminal is told in a sentence, not in a traceback.
        print(f"codehealer: {error.strerror or error}", file=sys.stderr)  # noqa: T201
        sys.exit(1)


if __name__ == "__main__":
    main()
