"""Entries of a leaderboard: one folder per model, dataset and protocol, and the check that lets them in.

    <entries>/<dataset>/<protocol>/<name>/entry.json            who, and what is claimed
                                          <name>.rvos.tar.xz    masks, scores, record: see ``archives``

Nothing is believed: the summary is formed again from the scores, and with the data at hand the scores from the masks.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from ..benchmarks.evaluator import as_asked, evaluate
from ..benchmarks.predictions import MergeRule, RunMasks
from ..benchmarks.protocols import REGISTRY, get_protocol
from ..benchmarks.protocols.base import Protocol, UnitScore
from ..benchmarks.results import Result, Table, metric_names, shown
from ..benchmarks.runs import DatasetRecord, Run, SummaryRecord, ValueRecord, is_run, sample_keys_hash
from ..datasets.config import replace_file
from ..datasets.errors import RunError, RvosError, UsageError
from ..datasets.types import RVOSDataset
from .archives import SUFFIX, is_archive, pack, unpack
from .contamination import contamination
from .opening import open_result
from .statistics import compare_results

ENTRY_FILE = "entry.json"
SCHEMA_VERSION = 1
#: Scores are formed again from full float64 digits; only the order of a sum may differ.
TOLERANCE = 1e-9
#: So many samples are named in a problem.
MOST_NAMED = 3

#: How an entry's numbers are known.
#:  ``verified``    its masks were scored here, and the scores are the same
#:  ``reproduced``  verified, and the masks were made again from the weights
#:  ``reported``    not scored here
#:  ``server``      scored by a benchmark's server, whose output is kept
Kind = Literal["verified", "reproduced", "reported", "server"]


class ServerRecord(BaseModel):
    """What a server said, about which file."""

    model_config = ConfigDict(extra="forbid")

    zip_sha256: str
    date: str
    output: str


class EntryRecord(BaseModel):
    """``entry.json``. ``kind`` is what is claimed; the check says what is so."""

    model_config = ConfigDict(extra="forbid")

    schema_version: int = SCHEMA_VERSION
    name: str
    kind: Kind = "reported"
    archive: str
    archive_sha256: str
    submitted_at: datetime
    paper: str = ""
    notes: str = ""
    server: ServerRecord | None = None


@dataclass(frozen=True)
class Checked:
    """An entry, a run or an archive after the check.

    Attributes:
        path: what was checked.
        name: of the entry.
        kind: how its numbers are known, as found; not as claimed.
        problems: why it is refused, one sentence each; empty where it is fine.
        notes: what could not be checked and why, what the model has seen in training.
        result: None where it could not be read.
    """

    path: Path
    name: str
    kind: Kind
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    result: Result | None

    @property
    def ok(self) -> bool:
        return not self.problems

    def __str__(self) -> str:
        head = f"{'ok     ' if self.ok else 'REFUSED'} {self.name} ({self.kind}): {self.path}"
        return "\n".join([head, *(f"  - {p}" for p in self.problems), *(f"  {n}" for n in self.notes)])


#: The data behind a record, None where they are not at hand.
FindData = Callable[[DatasetRecord], RVOSDataset | None]


# Check ----------------------------------------------------------------------------------------------------------------


def check(path: Path, dataset: RVOSDataset | None = None, workers: int | None = None) -> Checked:
    """Check one entry folder, run folder or prediction archive.

    Args:
        dataset: the data it is about; without it the masks cannot be scored again, and the notes say so.
        workers: processes for scoring.
    """
    try:
        entry, source = _opened(path)
        result = open_result(source)
    except (RvosError, OSError) as error:
        return Checked(path, path.name, "reported", (str(error),), (), None)
    problems = [*_entry_problems(entry, source), *_record_problems(result), *_score_problems(result)]
    notes = _seen(result)
    rescored = False
    if dataset is None:
        notes.append(f"Not scored again: give the folder of {result.dataset.id} with --root.")
    elif is_run(source) and not Run.open(source).masks.is_dir():
        problems += _data_problems(result, dataset)
        notes.append("Not scored again: the run holds no masks; an archive of it does (rvos leaderboard submit).")
    else:
        changed = _data_problems(result, dataset)
        problems += changed
        if not changed and not problems:
            problems += _rescored(source, result, dataset, workers)
            rescored = not problems
    name = entry.name if entry else _name(result, path)
    return Checked(path, name, _kind(entry, rescored), tuple(problems), tuple(notes), result)


def check_all(path: Path, data: FindData | None = None, workers: int | None = None) -> list[Checked]:
    """Check everything below a folder, and that entries about one dataset are about the same data.

    Args:
        data: gives the data that an entry is about, so that its masks are scored again; None where they are not here.
        workers: processes for scoring.

    Raises:
        UsageError: there is nothing to check.
    """
    found = [check(p) for p in find(path)]
    if data is not None:
        records = {c.result.dataset.id: c.result.dataset for c in found if c.result is not None}
        here = {name: dataset for name, record in records.items() if (dataset := data(record)) is not None}
        found = [
            check(c.path, here[c.result.dataset.id], workers)
            if c.result is not None and c.result.dataset.id in here
            else c
            for c in found
        ]
    if not found:
        raise UsageError(f"{path} holds no entry ({ENTRY_FILE}), no run and no archive; nothing to check.")
    first: dict[str, Checked] = {}
    out = []
    for checked in found:
        if checked.result is None:
            out.append(checked)
            continue
        record = checked.result.dataset
        other = first.setdefault(record.id, checked)
        assert other.result is not None
        problems = list(checked.problems)
        if other.result.dataset.fingerprint != record.fingerprint:
            problems.append(f"Its {record.id} has another fingerprint than that of {other.path}: other annotations.")
        out.append(Checked(checked.path, checked.name, checked.kind, tuple(problems), checked.notes, checked.result))
    return out


def find(path: Path) -> list[Path]:
    """Entries below a folder; a run, an archive or an entry is itself."""
    if is_archive(path) or is_run(path) or (path / ENTRY_FILE).is_file():
        return [path]
    entries = [p.parent for p in path.rglob(ENTRY_FILE)]
    runs = [p.parent for p in path.rglob("run.json")]
    return sorted(entries or runs)


def _opened(path: Path) -> tuple[EntryRecord | None, Path]:
    """The entry's record, where it is one, and the run or archive with its numbers."""
    if not (path / ENTRY_FILE).is_file():
        return None, path
    try:
        entry = EntryRecord.model_validate_json((path / ENTRY_FILE).read_text(encoding="utf-8"))
    except ValidationError as error:
        raise RunError(f"{path / ENTRY_FILE} is no entry: {error.errors()[0]['msg']}.") from error
    if Path(entry.archive).name != entry.archive:
        raise RunError(f"{path / ENTRY_FILE}: the archive '{entry.archive}' must lie beside it.")
    return entry, path / entry.archive


def _entry_problems(entry: EntryRecord | None, source: Path) -> Iterator[str]:
    if entry is None:
        return
    if _sha256(source) != entry.archive_sha256:
        yield f"{source.name} is not the file that {ENTRY_FILE} names (SHA-256 differs)."
    if entry.kind == "server" and entry.server is None:
        yield "It claims a server's score without the server's output, date and the hash of the uploaded file."


def _record_problems(result: Result) -> Iterator[str]:
    record = result.record
    if record.status != "finished":
        yield f"The run is not finished ({record.status}): evaluate it to its end."
    if record.limit is not None:
        yield f"The run is partial ({record.extent}): only whole splits are compared."
    if result.protocol.id not in REGISTRY:
        yield f"Unknown protocol '{result.protocol.id}'; see: rvos protocols."


def _score_problems(result: Result) -> Iterator[str]:
    """What the scores say by themselves: lost or doubled samples, impossible values, another summary."""
    if result.protocol.id not in REGISTRY:
        return
    protocol = get_protocol(result.protocol.id)
    keys = [score.unit.key for score in result.scores]
    twice = len(keys) - len(set(keys))
    if twice:
        yield f"{twice} samples have two scores."
    if not protocol.merged and not twice:
        yield from _lost(result, keys)
    odd = [s.unit.key for s in result.scores if not _possible(s, protocol)]
    if odd:
        yield f"{len(odd)} scores are impossible, first that of {odd[0]}: J and F are 0-1, and 0 where it failed."
        return
    yield from _summary_problems(result, SummaryRecord.of(protocol, protocol.aggregate(result.scores), result.scores))


def _lost(result: Result, keys: Sequence[str]) -> Iterator[str]:
    expected = result.dataset.n_samples
    if len(keys) != expected:
        yield f"{abs(expected - len(keys))} samples are {'lost' if len(keys) < expected else 'too many'}: " + (
            f"{len(keys)} scores for {expected} samples."
        )
    elif _keys_hash(keys) != result.dataset.sample_keys:
        yield "The sample keys are not those of the dataset: samples were renamed or exchanged."


def _possible(score: UnitScore, protocol: Protocol) -> bool:
    names = {metric.of for metric in protocol.metrics} & {"J", "F"}
    values = [value for name in names if (value := score.value(name)) is not None]
    if len(values) < len(names):
        return not score.counted or not protocol.strict
    if not all(0 <= value <= 1 for value in values):
        return False
    failed = score.status in ("missing", "invalid", "failed")
    return not protocol.strict or (score.counted and (not failed or not any(values)))


def _summary_problems(result: Result, again: SummaryRecord) -> Iterator[str]:
    summary = result.summary
    for metric, formed in again.values.items():
        given = summary.value(metric)
        if not _same(given, formed):
            yield f"run.json says {metric} {shown(given)}, the scores of its samples give {shown(formed)}."
    if dict(summary.counts) != dict(again.counts) or summary.n_counted != again.n_counted:
        yield "run.json counts other numbers of ok, missing, invalid or failed samples than the scores do."


def _same(a: ValueRecord, b: ValueRecord) -> bool:
    return all(_close(x, y) for x, y in ((a.value, b.value), (a.half_width, b.half_width)))


def _close(a: float | None, b: float | None) -> bool:
    return a == b or (a is not None and b is not None and abs(a - b) <= TOLERANCE)


def _data_problems(result: Result, dataset: RVOSDataset) -> list[str]:
    mine = result.dataset
    checks = [
        ("dataset", mine.id, dataset.id),
        ("version", mine.version, dataset.version),
        ("fingerprint", mine.fingerprint, dataset.fingerprint),
        ("sample keys", mine.sample_keys, sample_keys_hash(dataset)),
    ]
    return [
        f"It is about another {what}: {found[:30]}, the data here have {expected[:30]}."
        for what, found, expected in checks
        if found != expected
    ]


def _rescored(source: Path, result: Result, dataset: RVOSDataset, workers: int | None) -> list[str]:
    """What scoring the masks again shows to be different."""
    with tempfile.TemporaryDirectory() as name:
        run = unpack(source, Path(name)) if is_archive(source) else Run.open(source)
        protocol = get_protocol(result.protocol.id)
        masks = as_asked(protocol, RunMasks(run.masks), dataset, _merge_rule(result))
        again = evaluate(masks, dataset, protocol=protocol, workers=workers)
    assert isinstance(again, Result)
    return list(_unit_problems(result.scores, again.scores))


def _merge_rule(result: Result) -> MergeRule | None:
    """The rule by which the scored masks became label maps; None where they were label maps, or need none."""
    rules: tuple[MergeRule, ...] = get_args(MergeRule)
    named = result.record.predictions.merge_rule if result.record.predictions else None
    return next((rule for rule in rules if rule == named), None)


def _unit_problems(given: Sequence[UnitScore], again: Sequence[UnitScore]) -> Iterator[str]:
    found = {score.unit.key: score for score in given}
    lost = [s.unit.key for s in again if s.unit.key not in found]
    if lost:
        yield f"{len(lost)} samples are lost: {_few(lost)}."
    extra = found.keys() - {s.unit.key for s in again}
    if extra:
        yield f"{len(extra)} samples are not in the data: {_few(sorted(extra))}."
    differ = [(found[s.unit.key], s) for s in again if s.unit.key in found and not _same_score(found[s.unit.key], s)]
    for mine, theirs in differ[:MOST_NAMED]:
        yield (
            f"{mine.unit.key}: the scores say J {_digits(mine.J)} and F {_digits(mine.F)}, "
            f"its masks give {_digits(theirs.J)} and {_digits(theirs.F)}."
        )
    if len(differ) > MOST_NAMED:
        yield f"{len(differ) - MOST_NAMED} more samples have scores that their masks do not give."


def _same_score(a: UnitScore, b: UnitScore) -> bool:
    return a.counted == b.counted and _close(a.J, b.J) and _close(a.F, b.F)


def _seen(result: Result) -> list[str]:
    predictor = result.record.predictor
    return [] if predictor is None else [f"Seen: {s}" for s in contamination().of(predictor.name, result.dataset.id)]


def _kind(entry: EntryRecord | None, rescored: bool) -> Kind:
    if entry is not None and entry.kind == "server":
        return "server"
    if not rescored:
        return "reported"
    return "reproduced" if entry is not None and entry.kind == "reproduced" else "verified"


# Submit ---------------------------------------------------------------------------------------------------------------


def submit(
    run: Run, entries: Path, name: str, dataset: RVOSDataset | None = None, paper: str = "", notes: str = ""
) -> Path:
    """Write an entry for a run: a folder that is ready for a pull request.

    Args:
        run: a finished run over a whole split.
        entries: the leaderboard's folder.
        name: the model, as it is to be shown.
        dataset: needed where the run scored files of others.
        paper: an address.

    Returns:
        The entry's folder. Raises RunError where the run would be refused, or the folder exists.
    """
    checked = check(run.path)
    if not checked.ok:
        raise RunError(f"{run.path} would be refused: {' '.join(checked.problems)}")
    result = Result.of_run(run)
    folder = entries / _slug(result.dataset.id) / _slug(result.protocol.id) / _slug(name)
    if folder.exists():
        raise RunError(f"{folder} exists; give another --name, or delete it to submit anew.")
    archive = folder / f"{_slug(name)}{SUFFIX}"
    pack(run, archive, dataset)
    record = EntryRecord(
        name=name,
        archive=archive.name,
        archive_sha256=_sha256(archive),
        submitted_at=datetime.now(timezone.utc).replace(microsecond=0),
        paper=paper,
        notes=notes,
    )
    replace_file(folder / ENTRY_FILE, record.model_dump_json(indent=1) + "\n")
    return folder


# Tables ---------------------------------------------------------------------------------------------------------------


def build(entries: Sequence[Checked]) -> list[Table]:
    """A table per dataset and protocol, the best first; refused entries are left out.

    Runs that cannot be told from the best are marked; what a model has seen in training stands beside its number.
    """
    groups: dict[tuple[str, str], list[Checked]] = {}
    for entry in entries:
        if entry.ok and entry.result is not None:
            groups.setdefault((entry.result.dataset.id, entry.result.protocol.id), []).append(entry)
    return [_table(*key, group) for key, group in sorted(groups.items())]


def _table(dataset: str, protocol: str, group: Sequence[Checked]) -> Table:
    results = {f"{i}": entry.result for i, entry in enumerate(group) if entry.result is not None}
    compared = compare_results(results) if len(results) > 1 else None
    order = list(compared.results) if compared else list(results)
    metrics = metric_names(results.values())
    rows = []
    for index in order:
        entry, result = group[int(index)], results[index]
        mark = "≈ best" if compared and index in compared.not_separable else ""
        seen = " ".join(note.removeprefix("Seen: ") for note in entry.notes if note.startswith("Seen: "))
        rows.append((entry.name, *result.cells(metrics), mark, str(len(result.missing())), entry.kind, seen))
    head = ("model", *metrics, "", "incomplete", "known as", "seen in training")
    return Table(f"{dataset}, {protocol}", head, tuple(rows))


def _name(result: Result, path: Path) -> str:
    return result.record.predictor.name if result.record.predictor else path.name.removesuffix(SUFFIX)


def _few(keys: Sequence[str]) -> str:
    rest = len(keys) - MOST_NAMED
    return ", ".join(keys[:MOST_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _digits(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _keys_hash(keys: Sequence[str]) -> str:
    return f"sha256:{hashlib.sha256(chr(10).join(sorted(keys)).encode()).hexdigest()}"


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.@+_-]+", "-", text).strip("-.") or "entry"
