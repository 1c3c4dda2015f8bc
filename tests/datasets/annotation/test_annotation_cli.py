"""``rvos annotate init|invite|status|serve``."""

from __future__ import annotations

import http.client
import json
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import annotationclient
import numpy as np
import pytest
import workbench

annotationclient.require()

from rvos.cli import main  # noqa: E402
from rvos.datasets.annotation.store import Store  # noqa: E402


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main(["annotate", *map(str, arguments)])
    out, err = capsys.readouterr()
    return int(end.value.code or 0), out, err


def test_from_folders_to_links(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "two"):
        annotationclient.write_frames(tmp_path / "videos" / name)
    project = tmp_path / "project"
    code, out, _ = run(
        capsys, "init", project, "--videos", tmp_path / "videos", "--frames-licence", "CC0", "--may-copy"
    )
    assert code == 0 and "one: 6 frames of 64x48" in out and "rvos annotate serve" in out
    code, _, err = run(capsys, "init", project, "--videos", tmp_path / "videos")
    assert code == 2 and "is a project already" in err
    code, out, _ = run(capsys, "invite", project, "--annotator", "Ana", "--role", "author", "--clip", "two")
    assert code == 0 and re.search(r"Ana \(author\): http://127.0.0.1:8765/#token=[\w-]{43}\n", out)
    code, _, err = run(capsys, "invite", project, "--annotator", "Ana", "--role", "blind")
    assert code == 2 and "cannot be blind" in err
    code, _, err = run(capsys, "invite", project, "--annotator", "Bo", "--role", "author", "--clip", "three")
    assert code == 2 and "no clip 'three'" in err
    code, out, _ = run(capsys, "status", project)
    assert code == 0 and "Ana" in out and "Database: sound." in out
    code, out, _ = run(capsys, "status", project, "--json")
    told = json.loads(out)
    assert [c["id"] for c in told["clips"]] == ["one", "two"] and told["damage"] == []
    assert told["assignments"] == [{"person": "ana", "name": "Ana", "clip_id": "two", "state": "open"}]
    with Store.open(project) as store:
        assert store.clip(1)["source"]["licence"] == "CC0" and store.clip(1)["source"]["may_copy_frames"] is True
        assert [p["name"] for p in store.people()] == ["owner", "Ana"]


def test_a_project_may_start_empty(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = tmp_path / "project"
    code, out, _ = run(capsys, "init", project)
    assert code == 0 and out.splitlines() == [f"Start with: rvos annotate serve {project}", str(project)]
    annotationclient.write_frames(tmp_path / "videos" / "one")
    code, out, _ = run(capsys, "add", project, "--videos", tmp_path / "videos", "--frames-licence", "CC0")
    assert code == 0 and out.splitlines() == ["one: 6 frames of 64x48", str(project)]
    code, _, err = run(capsys, "add", project, "--videos", tmp_path / "videos")
    assert code == 2 and "has a clip 'one' already" in err
    with Store.open(project) as store:
        assert [(c["id"], c["source"]["licence"]) for c in store.clips()] == [("one", "CC0")]


def test_a_video_file_becomes_a_clip(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("av", reason="video files need PyAV (pip install av)")
    from rvos.datasets.annotation.videos import video_of
    from rvos.datasets.video_files import Mp4Writer

    (tmp_path / "videos").mkdir()
    with Mp4Writer(tmp_path / "videos" / "walk.mp4", 10.0) as writer:
        for i in range(4):
            writer.write(np.full((48, 64, 3), 60 * i, np.uint8))
    code, out, err = run(capsys, "init", tmp_path / "project", "--videos", tmp_path / "videos")
    assert code == 0 and "walk: 4 frames of 64x48" in out, err
    with Store.open(tmp_path / "project") as store:
        clip, video = store.clip(1), video_of(store, 1)
        assert clip["fps"] == 10.0 and clip["source"]["file"] == "walk.mp4" and len(clip["source"]["file_sha256"]) == 64
        assert [round(float(video.frame(i).mean()) / 60) for i in range(4)] == [0, 1, 2, 3]
        assert not list((store.folder / "cache").iterdir())


@pytest.mark.parametrize("name", ["SIGINT", pytest.param("SIGTERM", marks=pytest.mark.long)])
def test_serve_is_stopped_while_a_page_waits(tmp_path: Path, name: str) -> None:
    """With a real signal: the page that waits for news is answered, the process ends without alarm."""
    with annotationclient.make_project(tmp_path, clips=("one",)) as store:
        since = store.latest()
    command = workbench.rvos("annotate", "serve", tmp_path / "project", "--port", "0")
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        host, port, token = re.search(r"http://([\d.]+):(\d+)/#token=(\S+)", server.stdout.readline()).groups()  # type: ignore[union-attr]
        waiting, other = (http.client.HTTPConnection(host, int(port), timeout=60) for _ in range(2))
        session = {"Authorization": f"Bearer {token}"}
        for connection, wait in ((waiting, 0), (waiting, 25), (other, 0)):
            connection.request("GET", f"/api/events?since={since}&wait={wait}", headers=session)
            if not wait:
                assert connection.getresponse().read()
        server.send_signal(getattr(signal, name))
        answer = waiting.getresponse()
        assert answer.status == 200 and json.loads(answer.read())["changes"] == []
        out, err = server.communicate(timeout=60)
    finally:
        server.kill()
        server.wait()
    assert server.returncode == 0 and err == ""
    assert out.splitlines()[-1] == "Stopped. Everything that was acknowledged is saved."


def test_a_refusal_names_the_project_and_no_folder_that_is_gone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from rvos.datasets.annotation import exporting
    from rvos.datasets.errors import DatasetError

    def refuse(folder: Path, *_: Any, **__: Any) -> Any:
        raise DatasetError(f"{folder / 'clips'}: is not as expected.")

    monkeypatch.setattr(exporting, "export", refuse)
    with annotationclient.make_project(tmp_path, clips=("one",)) as store:
        code, _, err = run(capsys, "export", store.folder, "--out", tmp_path / "out")
        assert code == 2 and err == f"rvos: {store.folder / 'clips'}: is not as expected.\n"
        code, out, _ = run(capsys, "check", store.folder)
        assert code == 0 and out.splitlines()[-1] == str(store.folder) and "native-" not in out


def test_what_is_wrong_is_said_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    code, _, err = run(capsys, "status", tmp_path)
    assert code == 2 and err.startswith("rvos: ") and "no annotation project" in err
    with annotationclient.make_project(tmp_path):
        code, _, err = run(capsys, "serve", tmp_path / "project", "--host", "203.0.113.1")
        assert code == 2 and "cannot be listened at" in err
        code, _, err = run(capsys, "serve", tmp_path / "project", "--port", "0", "--paraphrase-url", "file:///etc")
        assert code == 2 and "expected an address" in err
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, _, err = run(capsys, "status", tmp_path)
    assert code == 2 and "pip install 'rvos[annotate]'" in err
