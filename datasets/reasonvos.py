"""ReasonVOS (Bai et al., VideoLISA, NeurIPS 2024): 458 sentences that need reasoning, about 91 videos."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from .files import AnnotationErrors, MetaVideo, names_in, read_meta, require_root
from .frames import FrameFolder, png_paths
from .masks import GreyPngMasks
from .problems import Problem
from .types import Expression, Masklet, RVOSDataset, Sample, Video


class ReasonVOS(RVOSDataset):
    """``meta_expressions.json``, ``JPEGImages/<video>/``, ``Annotations/<source>_<video>_<object>/<frame>.png``.

    One object per expression. The PNGs of the annotation folder decide which frames are scored, not the listed
    frames (eval_reason_vos.py); a masklet therefore speaks about the video's frames, in their order and None where
    there is no PNG, and after them about annotated frames that the file does not list. ``source`` is kept in the
    letter case of the file because folder names use it.
    """

    name = "reasonvos"

    def __init__(self, root: Path, split: str = "") -> None:
        require_root(root, "ReasonVOS", "meta_expressions.json")
        self.root = root
        self.meta_file = root / "meta_expressions.json"
        self.annotations = root / "Annotations"
        self._folders = names_in(self.annotations)
        entries = read_meta(self.meta_file, text_key="exp_text", required=("obj_id", "exp_id"))
        self._sources = {entry.id: str(entry.fields.get("source", "")) for entry in entries}
        odd = [f"video '{v}' has the source '{s[:40]}'." for v, s in self._sources.items() if "/" in s or "\0" in s]
        if odd:
            raise AnnotationErrors(self.meta_file, odd)
        super().__init__(root, split, "unstated", [sample for entry in entries for sample in self._samples(entry)])

    def ground_truth(self, sample: Sample) -> Masklet | None:
        """The object's masks; None where its annotation folder is missing."""
        return self._masklet(sample.video, self.prediction_path(sample).parts[0])

    def objects(self, video: Video) -> dict[str, Masklet]:
        prefix = self._prefix(video.id)
        masklets = {folder[len(prefix) :]: self._masklet(video, folder) for folder in self._folders_of(video.id)}
        return {object_id: masklet for object_id, masklet in masklets.items() if masklet is not None}

    def prediction_path(self, sample: Sample) -> PurePosixPath:
        """``<source>_<video>_<object>/<exp_id>``, as inference_reason_vos.py writes it."""
        assert sample.expression.object_ids
        folder = self._prefix(sample.video.id) + sample.expression.object_ids[0]
        return PurePosixPath(folder) / sample.expression.layout_id

    def annotation_files(self) -> Sequence[Path]:
        folders = ((self.annotations / name, self._stems(name)) for name in self._folders)
        return [self.meta_file, *(folder / f"{stem}.png" for folder, stems in folders for stem in stems)]

    def own_checks(self) -> Iterator[Problem]:
        named = {self.prediction_path(sample).parts[0] for sample in self.samples}
        for folder in sorted(set(self._folders) - {f for video in self.videos for f in self._folders_of(video.id)}):
            twin = next((name for name in named if name.lower() == folder.lower()), None)
            cure = f"Rename it to {twin}." if twin else "No video of the file has masks of this name."
            yield Problem("warning", "stray-folder", str(self.annotations / folder), "belongs to no sample.", cure)

    def own_video_checks(self, video: Video) -> Iterator[Problem]:
        for folder in self._folders_of(video.id):
            extra = [stem for stem in self._stems(folder) if stem not in video.frame_names]
            if extra:
                found = f"{len(extra)} masks of frames that the video does not list, first {extra[0]}.png."
                cure = "No model is asked for them, yet the official script scores them."
                yield Problem("warning", "unlisted-frames", str(self.annotations / folder), found, cure)

    def _samples(self, entry: MetaVideo) -> Iterator[Sample]:
        video = Video(entry.id, entry.frames, FrameFolder(self.root / "JPEGImages" / entry.id, self._any_mask(entry)))
        seen: Counter[str] = Counter()
        for exp_id, fields in entry.expressions:
            expression_id = f"{fields['obj_id']}_{exp_id}"
            seen[expression_id] += 1
            # An exp_id given twice for one object stays two samples, which share one prediction folder.
            suffix = f"#{seen[expression_id]}" if seen[expression_id] > 1 else ""
            yield Sample(
                video,
                Expression(
                    id=expression_id + suffix,
                    text=fields["exp_text"],
                    object_ids=(str(fields["obj_id"]),),
                    kind="reasoning",
                    is_sentence=fields.get("is_sent"),
                    layout_id=exp_id,
                    tags={"source": self._sources[entry.id]},
                ),
            )

    def _any_mask(self, entry: MetaVideo) -> Path | None:
        """A mask of the video, whose size stands in where the frames are absent."""
        for folder in dict.fromkeys(f"{self._prefix(entry.id)}{fields['obj_id']}" for _, fields in entry.expressions):
            for stem in self._stems(folder):
                return self.annotations / folder / f"{stem}.png"
        return None

    def _masklet(self, video: Video, folder: str) -> Masklet | None:
        stems = self._stems(folder)
        if not stems:
            return None
        listed = set(video.frame_names)
        frame_names = video.frame_names + tuple(stem for stem in stems if stem not in listed)
        return Masklet(frame_names, GreyPngMasks(png_paths(self.annotations / folder, frame_names, stems)))

    def _prefix(self, video_id: str) -> str:
        return f"{self._sources[video_id]}_{video_id}_"

    def _folders_of(self, video_id: str) -> list[str]:
        """The video's annotation folders. Another video's name may begin with this one's; object ids have no '_'."""
        prefix = self._prefix(video_id)
        return [f for f in self._folders if f.startswith(prefix) and "_" not in f[len(prefix) :]]

    def _stems(self, folder: str) -> list[str]:
        return names_in(self.annotations / folder, ".png")
