"""The command line: one module per command, each importing what it needs when it runs."""

from __future__ import annotations

import errno
import os
import sys
import warnings
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from io import TextIOWrapper
from typing import Any, TextIO

from ..datasets.errors import RvosError

#: command -> (module below rvos.cli, attribute). Imported only when the command, or the help page, is asked for.
COMMANDS = {
    "demo": ("demo", "demo"),
    "datasets": ("datasets", "app"),
    "predict": ("predict", "predict"),
    "evaluate": ("evaluate", "evaluate"),
    "diagnose": ("diagnose", "diagnose"),
    "protocols": ("protocols", "protocols"),
    "runs": ("runs", "app"),
    "annotate": ("annotate", "app"),
    "submit": ("submit", "submit"),
    "train": ("train", "train"),
    "ablate": ("ablate", "ablate"),
    "chat": ("chat", "chat"),
    "leaderboard": ("leaderboard", "app"),
    "compare": ("compare", "compare"),
    "explain": ("explain", "explain"),
    "cite": ("cite", "cite"),
    "reproduce": ("reproduce", "reproduce"),
    "doctor": ("doctor", "doctor"),
}


def _app(names: list[str]) -> Any:
    import typer

    app = typer.Typer(
        name="rvos",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        help="Benchmarks and datasets for language-instructed video object segmentation.",
        epilog="Example: rvos demo --out out/demo",
    )
    app.callback()(_root)
    for name in names:
        module, attribute = COMMANDS[name]
        command = getattr(import_module(f".{module}", __name__), attribute)
        if isinstance(command, typer.Typer):
            for registered in command.registered_commands:
                registered.callback = registered.callback and _interruptible(registered.callback)
            app.add_typer(command, name=name)
        else:
            app.command(name=name, epilog=getattr(command, "epilog", None))(_interruptible(command))
    return app


class Interrupted(RvosError):
    """Ctrl-C. Typer would end the program without a word, with an exit code that depends on its version."""

    exit_code = 130


def _interruptible(command: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(command)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except KeyboardInterrupt:
            raise Interrupted("interrupted; finished work is kept, --resume continues.") from None

    return call


def _root() -> None:
    """Benchmarks and datasets for language-instructed video object segmentation."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; exit 0 fine, 1 some samples failed, 2 usage or unusable input, 130 on Ctrl-C."""
    _print_anything()
    words = sys.argv[1:] if arguments is None else arguments
    wanted = [words[0]] if words and words[0] in COMMANDS else list(COMMANDS)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            _run(wanted, words)
    except RvosError as error:
        print(f"rvos: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    except OSError as error:
        print(f"rvos: {_refusal(error)}", file=sys.stderr)
        sys.exit(2)


def _run(wanted: list[str], words: list[str]) -> None:
    try:
        _app(wanted)(args=words, standalone_mode=True)
    finally:
        sys.stdout.flush()  # what cannot be written must not be noticed only when the program is gone


def _refusal(error: OSError) -> str:
    """What the system refused, in words. Raises the error itself where it names neither a file nor a full disk."""
    if error.filename is not None:
        return f"{error.filename}: {error.strerror}; check the path, its permissions and the space on its disk."
    if error.errno != errno.ENOSPC:
        raise error
    # What is still in the buffer would fail once more when Python ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return f"the output cannot be written ({error.strerror}); free space, or send it elsewhere."


def _print_anything() -> None:
    """Let no output end the program: names that the terminal's encoding does not have, streams that are closed."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever started this process
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  it lives as long as the process
        elif isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A warning on one line, without the code that it comes from."""
    print(f"rvos: warning: {' '.join(str(message).split())}", file=file or sys.stderr)
