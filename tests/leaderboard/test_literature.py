from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from pydantic import ValidationError

from rvos.datasets.errors import UnknownNameError
from rvos.leaderboard.findings import Finding, all_findings
from rvos.leaderboard.literature import Row, Source, load_source, numbers_hash, source_names, sources

FACTS = Path(__file__).resolve().parents[3] / "shared" / "facts" / "published"
#: Every number of VideoLISA's ten tables. It changes only where a number was carried over wrongly.
VIDEOLISA = "0bf4ac8efe24a338e9299d4d7029ed1f39b20188c919de8aad9bfce79ec695cc"


@pytest.fixture(scope="module")
def findings() -> list[Finding]:
    return all_findings(sources())


def test_videolisa_numbers_are_frozen() -> None:
    rows = load_source("videolisa").rows
    assert len(rows) == 232
    assert numbers_hash(rows) == VIDEOLISA


@pytest.mark.skipif(not FACTS.is_dir(), reason="the folder of facts that the numbers come from is not here")
def test_every_number_of_videolisas_tables_equals_the_facts() -> None:
    source = load_source("videolisa")
    compared = 0
    for number in range(1, 11):
        facts = json.loads((FACTS / f"videolisa_table{number}.json").read_text(encoding="utf-8"))["rows"]
        rows = source.table(f"Table {number}")
        assert len(rows) == len(facts)
        for row, fact in zip(rows, facts, strict=True):
            assert (row.row, row.method, row.year, row.variant or None) == (
                fact["paper_row"],
                fact["method"],
                fact["year"],
                fact["variant"],
            )
            assert row.metrics == fact["metrics"]
            compared += len(row.metrics)
    assert compared > 450


@pytest.mark.skipif(not FACTS.is_dir(), reason="the folder of facts that the numbers come from is not here")
def test_every_other_source_equals_the_facts() -> None:
    others = [name for name in source_names() if name != "videolisa"]
    assert len(others) == 26
    for name in others:
        facts = json.loads((FACTS / f"{name.replace('-', '_')}.json").read_text(encoding="utf-8"))["rows"]
        rows = load_source(name).rows
        assert [r.metrics for r in rows] == [f["metrics"] for f in facts], name
        assert [r.method for r in rows] == [f["method"] for f in facts], name


def test_what_is_not_stated_stays_unstated() -> None:
    splits = Counter(row.split for source in sources().values() for row in source.rows if row.dataset == "mevis")
    assert splits["unstated"] == 62 and splits["valid"] == 93 and splits["valid_u"] == 57


def test_a_row_out_of_range_or_with_an_unknown_metric_is_refused() -> None:
    good = {"method": "X", "dataset": "mevis", "split": "valid", "protocol": "server", "provenance": "primary"}
    Row.model_validate({**good, "metrics": {"J": 50.0}})
    for metrics in ({"J": 101.0}, {"J&G": 5.0}):
        with pytest.raises(ValidationError):
            Row.model_validate({**good, "metrics": metrics})
    with pytest.raises(UnknownNameError, match="Table 3"):
        load_source("videolisa").table("Table 33")


def test_the_checker_finds_what_readers_found_in_videolisa(findings: list[Finding]) -> None:
    seen = {(f.kind, f.row.table, f.row.row, f.row.dataset) for f in findings if f.source == "videolisa"}
    assert ("mean", "Table 1", 11, "ref-davis17") in seen
    assert ("mean", "Table 8", 4, "ref-davis17") in seen
    assert ("order", "Table 1", 16, "ref-youtube-vos") in seen
    assert {("duplicate", "Table 3", 0, "reasonvos"), ("duplicate", "Table 3", 5, "reasonvos")} <= seen
    assert ("differs", "Table 1", 12, "ref-davis17") in seen
    automatic = [s for s in seen if s[0] in ("mean", "order", "duplicate", "swapped", "other split")]
    assert len(automatic) == 5  # and nothing that is right


def test_the_checker_finds_swaps_and_copies_elsewhere(findings: list[Finding]) -> None:
    seen = {(f.kind, f.source, f.row.method) for f in findings}
    assert ("swapped", "videomolmo", "VideoLISA") in seen
    assert ("duplicate", "emc-rvos", "LMPM") in seen
    assert ("other method", "emc-rvos", "URVOS") in seen
    assert ("mean", "x2sam", "X2SAM") in seen


def test_a_value_of_another_split_is_found() -> None:
    row = {"method": "X", "dataset": "mevis", "protocol": "unstated", "provenance": "secondary"}
    numbers = {"J&F": 50.0, "J": 48.0, "F": 52.0}
    copied = {"a": {"split": "valid_u"}, "b": {"split": "valid"}}
    made = {
        name: Source.model_validate({"source": name, "title": "", "rows": [{**row, **split, "metrics": numbers}]})
        for name, split in copied.items()
    }
    assert [(f.kind, f.source) for f in all_findings(made)] == [("other split", "a"), ("other split", "b")]


def test_every_hand_made_flag_concerns_a_row() -> None:
    for name, source in sources().items():
        for flag in source.flags:
            assert any(flag.concerns(row) for row in source.rows), f"{name}: {flag.text}"
