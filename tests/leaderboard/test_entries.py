"""Entries, archives and the check that refuses tampered ones. About 12 s."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from rvos import compare
from rvos.baselines.registry import make_predictor
from rvos.benchmarks.engine import predict
from rvos.benchmarks.evaluator import evaluate
from rvos.benchmarks.predictions import RunMasks, export_masks
from rvos.benchmarks.runs import Run
from rvos.cli import main
from rvos.datasets.errors import RunError, UsageError
from rvos.datasets.reasonshapes.generate import generate
from rvos.datasets.reasonshapes.writers import write
from rvos.datasets.registry import load
from rvos.datasets.types import RVOSDataset
from rvos.leaderboard.archives import is_archive, pack, read_index, read_result, unpack
from rvos.leaderboard.contamination import contamination
from rvos.leaderboard.entries import build, check, check_all, submit
from rvos.leaderboard.opening import data_at_hand


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> RVOSDataset:
    root = tmp_path_factory.mktemp("data")
    write("mevis", root, generate("valid", 3, height=48, width=64, n_frames=6), split="valid_u")
    return load("mevis/valid_u", root=root)


@pytest.fixture(scope="module")
def originals(dataset: RVOSDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for name in ("shifted", "centre-box"):
        run = predict(make_predictor(name, dataset), dataset, out=folder / name, progress=False)
        evaluate(run, dataset, workers=1)
    return folder


@pytest.fixture
def run(originals: Path, tmp_path: Path) -> Path:
    shutil.copytree(originals / "shifted", tmp_path / "run")
    return tmp_path / "run"


def edit(path: Path, change: Callable[[dict], None]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def edit_line(run: Path, number: int, **values: object) -> str:
    lines = (run / "samples.jsonl").read_text().splitlines()
    line = json.loads(lines[number])
    lines[number] = json.dumps({**line, **values})
    (run / "samples.jsonl").write_text("\n".join(lines) + "\n")
    return line["key"]


def summarised(run: Path) -> None:
    """Make the summary fit to the scores again, as a careful cheat would."""
    opened = Run.open(run)
    from rvos.benchmarks.protocols import get_protocol
    from rvos.benchmarks.runs import SummaryRecord

    scores = opened.scores()
    protocol = get_protocol("mevis@1")
    opened.record.summary = SummaryRecord.of(protocol, protocol.aggregate(scores), scores)
    opened.save()


def test_an_honest_run_is_verified(run: Path, dataset: RVOSDataset) -> None:
    without, with_data = check(run), check(run, dataset, workers=1)
    assert without.ok and without.kind == "reported" and "--root" in without.notes[0]
    assert with_data.ok and with_data.kind == "verified", str(with_data)


def test_a_lost_sample_is_refused(run: Path, dataset: RVOSDataset) -> None:
    lines = (run / "samples.jsonl").read_text().splitlines()
    (run / "samples.jsonl").write_text("\n".join(lines[1:]) + "\n")
    summarised(run)
    problems = check(run).problems
    assert any("1 samples are lost" in p for p in problems)


def test_an_exchanged_sample_is_refused(run: Path) -> None:
    edit_line(run, 0, key="video/999")
    assert any("renamed or exchanged" in p for p in check(run).problems)


def test_an_edited_score_is_refused(run: Path, dataset: RVOSDataset) -> None:
    key = edit_line(run, 0, J=0.987)
    problems = check(run).problems
    assert any("run.json says J" in p for p in problems)
    summarised(run)
    assert check(run).ok  # by themselves the numbers now agree
    problems = check(run, dataset, workers=1).problems
    assert len(problems) == 1 and problems[0].startswith(f"{key}: the scores say J 0.9870")


def test_an_edited_summary_is_refused(run: Path) -> None:
    edit(run / "run.json", lambda r: r["summary"]["J&F"].update(value=0.99))
    assert any("J&F 99.00" in p for p in check(run).problems)


def test_another_version_of_the_data_is_refused(run: Path, tmp_path: Path) -> None:
    write("mevis", tmp_path / "other", generate("test", 3, height=48, width=64, n_frames=6), split="valid_u")
    problems = check(run, load("mevis/valid_u", root=tmp_path / "other"), workers=1).problems
    assert any("another fingerprint" in p for p in problems)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda r: r.update(limit=1), "partial"),
        (lambda r: r["protocol"].update(id="mevis@7"), "Unknown protocol 'mevis@7'"),
        (lambda r: r.update(status="interrupted"), "not finished"),
        (lambda r: r["summary"]["counts"].update(ok=1), "counts other numbers"),
    ],
)
def test_what_the_record_gives_away_is_refused(run: Path, change: Callable[[dict], None], reason: str) -> None:
    edit(run / "run.json", change)
    assert any(reason in p for p in check(run).problems)


def test_impossible_scores_are_refused(run: Path) -> None:
    key = edit_line(run, 1, J=1.5)
    assert any(key in p and "impossible" in p for p in check(run).problems)
    edit_line(run, 1, J=0.5, status="missing")
    assert any("impossible" in p for p in check(run).problems)


def test_an_archive_is_small_and_gives_the_run_back(run: Path, dataset: RVOSDataset, tmp_path: Path) -> None:
    out = tmp_path / "mine.rvos.tar.xz"
    index = pack(Run.open(run), out)
    assert is_archive(out) and read_index(out) == index
    folder = sum(p.stat().st_size for p in run.rglob("*") if p.is_file())
    assert out.stat().st_size < folder / 2
    back = unpack(out, tmp_path / "back")
    assert back.scores() == Run.open(run).scores() and back.record.summary == Run.open(run).record.summary
    mine, theirs = RunMasks(run / "masks"), RunMasks(back.masks)
    assert all(mine.rles(s) == theirs.rles(s) for s in dataset)
    assert str(run) not in (tmp_path / "back" / "run.json").read_text()
    first = out.read_bytes()
    pack(Run.open(run), out)
    assert out.read_bytes() == first
    assert check(out, dataset, workers=1).kind == "verified"


def test_a_run_over_files_of_others_is_packed_with_their_masks(run: Path, dataset: RVOSDataset, tmp_path: Path) -> None:
    export_masks(RunMasks(run / "masks"), dataset, tmp_path / "png")
    result = evaluate(tmp_path / "png", dataset, out=tmp_path / "scored", workers=1)
    scored = Run.open(tmp_path / "scored")
    assert check(scored.path, dataset).kind == "reported"
    with pytest.raises(RunError, match="give the dataset"):
        pack(scored, tmp_path / "a.rvos.tar.xz")
    folder = submit(scored, tmp_path / "entries", "PNG", dataset)
    checked = check(folder, dataset, workers=1)
    assert checked.kind == "verified" and checked.result is not None
    assert checked.result.J_and_F == result.J_and_F  # type: ignore[union-attr]


def test_a_changed_or_torn_archive_is_refused(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine.rvos.tar.xz"
    pack(Run.open(run), out)
    torn = tmp_path / "torn.rvos.tar.xz"
    torn.write_bytes(out.read_bytes()[:-200])
    with pytest.raises(RunError, match="torn"):
        unpack(torn, tmp_path / "a")
    with tarfile.open(out) as tar:
        files = [(m, tar.extractfile(m).read()) for m in tar]  # type: ignore[union-attr]
    changed = tmp_path / "changed.rvos.tar.xz"
    for name, data, reason in (
        ("masks/../../evil.json", b"{}", "does not name"),
        (files[-1][0].name, b"{}", "changed"),
    ):
        kept = [(m, d) for m, d in files if m.name != name]
        with tarfile.open(changed, "w:xz") as tar:
            for member, content in kept:
                _put(tar, member.name, content)
            _put(tar, name, data)
        with pytest.raises(RunError, match=reason):
            unpack(changed, tmp_path / "b")
    assert not list(tmp_path.rglob("evil.json"))
    (tmp_path / "none.rvos.tar.xz").write_bytes(b"no archive")
    with pytest.raises(RunError, match="cannot be read"):
        read_result(tmp_path / "none.rvos.tar.xz")


def _put(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    import io

    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def test_entries_are_submitted_checked_and_tabled(
    originals: Path, dataset: RVOSDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = tmp_path / "entries"
    for name in ("shifted", "centre-box"):
        with pytest.raises(SystemExit) as ended:
            main(["leaderboard", "submit", str(originals / name), "--name", name, "--entries", str(entries)])
        assert ended.value.code == 0
    with pytest.raises(SystemExit) as ended:
        main(["leaderboard", "check", str(entries), "--root", str(dataset.root)])
    assert ended.value.code == 0 and capsys.readouterr().out.count("(verified)") == 2
    table = build(check_all(entries))[0]
    assert table.title == "mevis/valid_u, mevis@1" and [row[0] for row in table.rows] == ["shifted", "centre-box"]
    assert table.rows[0][4] == "≈ best"
    archive = next((entries / "mevis-valid_u").rglob("shifted.rvos.tar.xz"))
    assert compare(originals / "centre-box", archive).best == "shifted"
    with pytest.raises(RunError, match="exists"):
        submit(Run.open(originals / "shifted"), entries, "shifted")
    archive.write_bytes(next(entries.rglob("centre-box.rvos.tar.xz")).read_bytes())
    refused = [c for c in check_all(entries) if not c.ok]
    assert len(refused) == 1 and "SHA-256 differs" in refused[0].problems[0]
    with pytest.raises(SystemExit) as ended:
        main(["leaderboard", "check", str(entries)])
    assert ended.value.code == 1 and "REFUSED" in capsys.readouterr().out


def test_masks_are_scored_again_without_a_folder_where_the_data_are_at_hand(run: Path) -> None:
    opened = Run.open(run)
    root = opened.record.dataset.root
    assert Path(root).is_dir() and check_all(run)[0].kind == "reported"
    assert check_all(run, data_at_hand, workers=1)[0].kind == "verified"
    opened.record.dataset = opened.record.dataset.model_copy(update={"root": "/nowhere"})
    opened.save()
    assert "--root" in check_all(run, data_at_hand)[0].notes[0]


def test_entries_about_other_annotations_do_not_share_a_table(originals: Path, tmp_path: Path) -> None:
    for name in ("shifted", "centre-box"):
        shutil.copytree(originals / name, tmp_path / name)
    edit(tmp_path / "shifted" / "run.json", lambda r: r["dataset"].update(fingerprint="sha256:other"))
    found = check_all(tmp_path)
    assert [c.ok for c in found] == [True, False] and "another fingerprint" in found[1].problems[0]
    with pytest.raises(UsageError, match="nothing to check"):
        check_all(originals / "shifted" / "masks")


def test_a_tampered_run_cannot_be_submitted(run: Path, tmp_path: Path) -> None:
    edit(run / "run.json", lambda r: r.update(limit=1))
    with pytest.raises(RunError, match="partial"):
        submit(Run.open(run), tmp_path / "entries", "Mine")


def test_contamination_is_named() -> None:
    known = contamination()
    assert any("trained on mevis/valid_u" in s for s in known.of("VideoLISA-3.8B", "mevis/valid_u"))
    assert any("18 videos of reasonvos" in s for s in known.of("videolisa", "reasonvos"))
    assert known.of("videolisa", "reasonshapes/test") == [] and known.of("mine", "mevis/valid_u") == []
    assert known.of("videolisa", "revos/valid") == [
        "Some videos of revos are of mevis, on which videolisa was trained.",
    ]
    (shared,) = known.of("Veason-R1-7B", "reasonvos")
    assert "reasonvos and revos" in shared and "mose and mevis and tao; whether" in shared
    assert known.of("veason-r1", "revos/valid") == []


def test_the_map_of_sources_is_the_one_in_the_docs() -> None:
    known = contamination()
    assert known.sources("reasonvos") == ("burst", "mose", "mevis", "vipseg", "tao")
    assert known.recurring("revos", "mevis") == ("mevis",) and known.recurring("long-rvos", "revos") == ()
    page = Path(__file__).parents[2] / "docs" / "leaderboards.md"
    assert known.table().to_markdown().strip() in page.read_text(encoding="utf-8")


def test_published_numbers_are_printed_with_findings(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["leaderboard", "published", "reasonvos/test", "--method", "LISA"])
    printed = capsys.readouterr().out
    assert ended.value.code == 0 and "J&F 47.5" in printed and "arXiv:2409.19603 Table 3" in printed
    assert "The same values as MTTR" in printed
