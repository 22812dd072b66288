"""The `codehealer` program."""

import sys
import time

from knowledge.errors import BadInput, CodeHealerError

STARTED_AT = time.time()


def main() -> None:
    """Run one command. Exit status: 0 done, 1 it failed, 2 wrong use or unreadable input."""
    # Imported here, so that the clock above counts what they cost.
    from bot.cli import app  # noqa: PLC0415

    try:
        app(prog_name="codehealer")
    except CodeHealerError as error:
        print(f"codehealer: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(2 if isinstance(error, BadInput) else 1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)


if __name__ == "__main__":
    main()
