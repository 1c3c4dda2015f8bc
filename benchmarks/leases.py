"""Many processes on one run folder: who is at work, who has which video, what is done.

A process joins by putting a file below ``work/`` in the run folder, on this machine or on any that shares the disk::

    work/processes/<process>      is alive: the file is touched every few seconds
    work/members/<process>        takes part in the session
    work/leases/<video>.<n>       the n-th attempt at a video; the file names the process
    work/done/<video>             masks and lines of the video are on disk
    work/logs/<process>.jsonl     prediction lines of one process, which nobody else writes to
    work/locks/session.<n>        held for a moment while a process joins or leaves

Every claim is one exclusive creation of a file (O_EXCL); the claim of a dead process is overtaken by creating the next
number, so nothing is ever deleted that might just have become somebody else's. Leases only spare double work: two
processes that segment the same video write the same bytes, each file whole, so no result depends on them.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from urllib.parse import quote, unquote

from ..datasets.errors import RunError
from ..datasets.types import Video

WORK_FOLDER = "work"
LOGS_FOLDER = "logs"
#: A process touches its file so often, in seconds.
HEARTBEAT = 5.0
#: A process of another machine whose file was not touched for so long is dead, in seconds. Longer than network file
#: systems keep attributes in their caches (up to 60 s on NFS).
EXPIRY = 120.0
#: How long a claim may be without its owner's name, in seconds: a process writes that right after making the file, and
#: one that is killed in between owns nothing any more.
NAMELESS = 10.0
#: How often to try to write into a folder that others may be removing.
ATTEMPTS = 20
#: How long to wait for the lock before something must be wrong, in seconds.
PATIENCE = 600.0


class Session:
    """This process at work in a run folder. A context manager: leaving it gives back whatever is held.

    Attributes:
        name: of this process, unique.
        folder: ``work`` in the run folder.
        log: this process's own file of prediction lines.
    """

    def __init__(self, run: Path) -> None:
        self.folder = run / WORK_FOLDER
        self.name = f"{re.sub('[^A-Za-z0-9-]', '-', socket.gethostname())}-{os.getpid()}-{secrets.token_hex(4)}"
        self.log = self.folder / LOGS_FOLDER / f"{self.name}.jsonl"
        self._held: dict[str, int] = {}
        self._ended = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="rvos-heartbeat", daemon=True)

    def __enter__(self) -> Session:
        with _explained(self.folder):
            self._put("processes", self.name, json.dumps(_myself()), exclusive=False)
            self.log.parent.mkdir(parents=True, exist_ok=True)
        self._heart.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._heart.join()
        for video_id in list(self._held):
            self.release(video_id)
        (self.folder / "members" / self.name).unlink(missing_ok=True)
        self._presence.unlink(missing_ok=True)
        self._remove_empty_folders()

    # Who is there -------------------------------------------------------------------------------------------------

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the session's lock, waiting for it. Raises RunError after ``PATIENCE`` seconds."""
        deadline = time.monotonic() + PATIENCE
        while (attempt := self._take("locks", "session")) is None:
            if time.monotonic() > deadline:
                raise RunError(f"{self.folder / 'locks'} is held for {PATIENCE:.0f} s; end the process that it names.")
            time.sleep(0.02)
        try:
            yield
        finally:
            self._give_back("locks", "session", attempt)

    def join(self) -> None:
        """Become a member; call it locked, after asking for ``others``."""
        self._put("members", self.name, "", exclusive=False)

    def leave(self) -> None:
        """Be no member any more; call it locked, before asking for ``others``."""
        (self.folder / "members" / self.name).unlink(missing_ok=True)

    def others(self) -> list[str]:
        """Names of the other members that are alive."""
        return sorted(name for name in self._names("members") if name != self.name and self._is_alive(name))

    def clear(self) -> None:
        """Forget leases, marks and logs; call it locked, when there are no others."""
        for part in ("members", "leases", "done", LOGS_FOLDER):
            for name in self._names(part):
                (self.folder / part / name).unlink(missing_ok=True)
        for name in self._names("processes"):
            if not self._is_alive(name):
                (self.folder / "processes" / name).unlink(missing_ok=True)

    # Videos -------------------------------------------------------------------------------------------------------

    def take(self, video_id: str) -> int | None:
        """Claim a video: the number of this attempt, from 1; None where another process has it."""
        attempt = self._take("leases", quote(video_id, safe=""))
        if attempt is not None:
            self._held[video_id] = attempt
        return attempt

    def release(self, video_id: str) -> None:
        """Give a video back."""
        self._give_back("leases", quote(video_id, safe=""), self._held.pop(video_id))

    def mark_done(self, video_id: str) -> None:
        """Tell the others that everything about a video is on disk."""
        with _explained(self.folder):
            self._put("done", quote(video_id, safe=""), "", exclusive=False)

    def done(self) -> set[str]:
        """Ids of the videos that are done."""
        return {unquote(name) for name in self._names("done")}

    def first_free(self, videos: Sequence[Video]) -> Video | None:
        """The first of these that is not done and that nobody has, not even this process."""
        taken = {name.rpartition(".")[0] for name in self._names("leases")} | set(self._names("done"))
        return next((video for video in videos if quote(video.id, safe="") not in taken), None)

    # Claims -------------------------------------------------------------------------------------------------------

    def _take(self, part: str, name: str) -> int | None:
        latest = max(self._attempts(part, name), default=0)
        if latest and self._is_held(self.folder / part / f"{name}.{latest}"):
            return None
        with _explained(self.folder):
            try:
                self._put(part, f"{name}.{latest + 1}", self.name, exclusive=True)
            except FileExistsError:
                return None
        return latest + 1

    def _give_back(self, part: str, name: str, attempt: int) -> None:
        """Remove a claim, older ones of the dead first: what is left in between still says "taken"."""
        for number in sorted(n for n in self._attempts(part, name) if n <= attempt):
            (self.folder / part / f"{name}.{number}").unlink(missing_ok=True)

    def _attempts(self, part: str, name: str) -> list[int]:
        start = f"{name}."
        found = self._names(part)
        return [int(n.removeprefix(start)) for n in found if n.startswith(start) and n.removeprefix(start).isdigit()]

    def _is_held(self, claim: Path) -> bool:
        try:
            owner = claim.read_text(encoding="utf-8")
            if owner:
                return self._is_alive(owner)
            return self._now() - claim.stat().st_mtime < NAMELESS
        except FileNotFoundError:
            return False

    # Files: a folder that is missing is an empty one, for the last process to leave removes those ------------------

    def _names(self, part: str) -> list[str]:
        try:
            return os.listdir(self.folder / part)
        except FileNotFoundError:
            return []

    def _put(self, part: str, name: str, text: str, exclusive: bool) -> None:
        path = self.folder / part / name
        for attempt in range(ATTEMPTS):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("x" if exclusive else "w", encoding="utf-8") as file:
                    file.write(text)
                return
            except FileNotFoundError:  # the folder was removed in between, by a process that saw it empty
                if attempt == ATTEMPTS - 1:
                    raise

    # Life ---------------------------------------------------------------------------------------------------------

    @property
    def _presence(self) -> Path:
        return self.folder / "processes" / self.name

    def _beat(self) -> None:
        while not self._ended.wait(HEARTBEAT):
            with contextlib.suppress(OSError):  # a disk that is away for a moment; what is lost is only a heartbeat
                os.utime(self._presence)

    def _is_alive(self, name: str) -> bool:
        path = self.folder / "processes" / name
        try:
            process = json.loads(path.read_text(encoding="utf-8") or "{}")
            touched = path.stat().st_mtime
        except FileNotFoundError:
            return False
        except ValueError:
            process, touched = {}, path.stat().st_mtime
        if process.get("machine") == _machine() and _CAN_LOOK:
            return _started(process["pid"]) == process["started"]
        return self._now() - touched < EXPIRY

    def _now(self) -> float:
        """The file server's time, which is the one that the other processes' files are dated with."""
        os.utime(self._presence)
        return self._presence.stat().st_mtime

    def _remove_empty_folders(self) -> None:
        """Tidy up behind the last process; whatever still lies there keeps its folders."""
        try:
            (self.folder / "processes").rmdir()
        except OSError:
            return  # somebody is still there, or has just come
        for part in (LOGS_FOLDER, "members", "leases", "done", "locks", ""):
            with contextlib.suppress(OSError):  # it was never made, or holds what the next session needs
                (self.folder / part).rmdir()


def hand_out(session: Session, videos: Sequence[Video], costs: Sequence[int]) -> Iterator[tuple[Video, int]]:
    """Videos that this process is to segment, the costliest first, until all are done by whomever.

    A video that is yielded is claimed; call ``mark_done`` before asking for the next. Where others have all that is
    left, this waits, and takes over from those that die.

    Args:
        videos: what the members of the session do together.
        costs: how long each is about to take, in any unit.

    Yields:
        (video, number of the attempt at it, from 1).
    """
    left = costliest_first(videos, costs)
    pause = 0.01
    while left:
        done = session.done()
        left = [video for video in left if video.id not in done]
        claim = next(((v, n) for v in left if (n := session.take(v.id)) is not None), None)
        if claim is None:
            time.sleep(pause)
            pause = min(1.0, 1.5 * pause)
            continue
        video, _ = claim
        if video.id not in session.done():  # it may have become so just before the claim
            pause = 0.01
            yield claim
        session.release(video.id)


def costliest_first(videos: Sequence[Video], costs: Sequence[int]) -> list[Video]:
    """The order in which videos are handed out: what takes longest must not come last."""
    return [video for _, video in sorted(zip(costs, videos, strict=True), key=lambda pair: -pair[0])]


# Processes ------------------------------------------------------------------------------------------------------------

#: Whether this system shows whether a process runs; elsewhere its file's age must tell.
_CAN_LOOK = Path("/proc/self/stat").exists()


def _myself() -> dict[str, str | int]:
    return {"machine": _machine(), "pid": os.getpid(), "started": _started(os.getpid())}


def _machine() -> str:
    """Equal for two processes only where they see each other's process ids: one boot, one process namespace."""
    if not _CAN_LOOK:
        return socket.gethostname()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{socket.gethostname()} {boot} {os.stat('/proc/self/ns/pid').st_ino}"


def _started(pid: int) -> str:
    """When the process was started, in the kernel's clock ticks; empty where it does not run (any more)."""
    try:
        # The name in parentheses may hold anything; state is the 1st and start time the 20th field behind it.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{folder} cannot be written ({error.strerror or error}); free space on its disk, or give a writable --out."
        ) from error
