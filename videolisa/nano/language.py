"""The language stages: projector, language model and prompt head learn what the sentences mean, then the masks.

All sentences of a video go through the language model together: its rows once, then every question behind them in one
packed sequence in which a question sees the video and itself, as ``prefix`` does at inference. CLIP nano and SAM nano
are frozen, so their features are computed once a video.

Losses beside the paper's (text cross entropy, BCE, dice):

* selection: the prompt vector is drawn to the code that SAM nano was taught for the things meant
  (``vision.ThingCodes``) and away from those of the video's other things;
* tracks: hidden states of dense rows say what the thing there has done so far (``tracks``);
* gaze: where the prompt is made, some heads of the upper layers look at rows that show what is meant.

They come from the scene graph and only help training; nothing of them is in the model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache

from ..losses import BCE_WEIGHT, CE_WEIGHT, DICE_WEIGHT, IGNORE_INDEX, mask_losses
from ..modeling import IMAGE_TOKEN, VideoLisaModel
from ..processor import Processor
from ..prompts import ANSWER, TRAINING_ANSWERS, conversation, question, template_for
from ..sampling import FrameSample, sample_frames
from .scenes import SceneVideo, Sentence
from .tracks import TrackHead, Tracks, tracks_of
from .vision import ThingCodes, decode_each

#: Weights of the helping losses.
SELECTION, TRACKS, GAZE = 1.0, 1.0, 0.5
#: The layers, from the last, and of each the first heads, that are told where to look.
GAZE_LAYERS, GAZE_HEADS = 2, 2
#: Squared distances between prompt and codes are divided by this before they are compared.
SPREAD = 8.0
#: Weight of the squared distance itself: a prompt nearest to the right code may still be too far off for a good mask.
NEAR = 4.0
#: After so many layers rows must know what happened: the layers above them answer.
TRACK_LAYERS = 4
#: How often each kind of sentence is drawn: at first those whose words name a look, then as the benchmark asks.
WORDS = {"attribute": 0.7, "multi-object": 0.2, "world-knowledge": 0.1}
EVERYTHING = {
    "temporal": 0.26,
    "multi-step": 0.22,
    "attribute": 0.1,
    "spatial": 0.12,
    "motion": 0.1,
    "multi-object": 0.1,
    "world-knowledge": 0.05,
    "no-target": 0.05,
}


#: Strategies whose last rows each show one patch of one frame.
CELL_ROWS = ("sparse-dense", "n-frame")


@dataclass
class Questions:
    """Questions about one video, packed: Q rows of N questions.

    Attributes:
        before: int64, ids before the video.
        ids: int64 (Q,), behind the video.
        owner: int64 (Q,), which question each row belongs to.
        place: int64 (Q,), its place in that question.
        labels: int64 (Q,), the id that follows a row, ``IGNORE_INDEX`` where that is not part of an answer.
        prompt_rows: int64 (N,), the row before each ``[SEG]``.
    """

    before: torch.Tensor
    ids: torch.Tensor
    owner: torch.Tensor
    place: torch.Tensor
    labels: torch.Tensor
    prompt_rows: torch.Tensor


@dataclass
class Lesson:
    """A video, what is asked about it, and what is right; n things, N questions, K supervised frames.

    Attributes:
        features: float (F, P, CLIP width), CLIP features of the distinct frames that are seen; None where the
            question is asked without the video, so that words are learned first.
        sample: where they go.
        questions: the questions.
        looks: int64 (n, 3).
        places: float (n, 2), where each thing is, for the codes.
        members: float (N, n), 1 where a question means a thing.
        shown: int64 (R,), the thing + 1 that each of the last R rows shows, or 0; None where rows are not of cells.
        tracks: of the dense rows; None where there are none, and beside masks.
        sam_features: float (K, C, g, g), or None where masks are not trained.
        masks: float (N, K, H, W).
        kinds: of the questions.
    """

    features: torch.Tensor | None
    sample: FrameSample
    questions: Questions
    looks: torch.Tensor
    places: torch.Tensor
    members: torch.Tensor
    shown: torch.Tensor | None
    tracks: Tracks | None
    sam_features: torch.Tensor | None
    masks: torch.Tensor | None
    kinds: tuple[str, ...]


@dataclass
class TrackBatch:
    """Videos that are followed without any sentence, and other videos, if any, with sentences.

    Attributes:
        features: float (B, F, P, CLIP width), of the distinct frames that are seen.
        sample: where they go.
        tracks: of each video's dense rows.
        lessons: what is asked.
    """

    features: torch.Tensor
    sample: FrameSample
    tracks: list[Tracks | None]
    lessons: list[Lesson]


@dataclass
class Asked:
    """What the language model makes of B videos with questions.

    Attributes:
        states: (B, V, hidden), of the videos' rows after ``TRACK_LAYERS`` layers.
        hidden: of each pack's questions, (Q, hidden).
        inputs: of every layer, (B, longest Q, hidden), of questions.
        keys: of every layer, (B, heads, V, d), of the videos' rows.
        length: rows before the questions.
    """

    states: torch.Tensor
    hidden: list[torch.Tensor]
    inputs: Sequence[torch.Tensor]
    keys: Sequence[torch.Tensor]
    length: int


class LanguageStage(nn.Module):
    """Everything but CLIP and SAM's image encoder."""

    def __init__(self, model: VideoLisaModel, codes: ThingCodes) -> None:
        super().__init__()
        self.model, self.codes = model, codes
        self.track_head = TrackHead(model.config.text_config.hidden_size)

    def forward(self, batch: list[Lesson] | TrackBatch) -> dict[str, torch.Tensor]:
        """Mean losses, and the share of questions whose prompt is nearest to the right code."""
        if isinstance(batch, TrackBatch):
            answers = self._answers(batch.lessons) if batch.lessons else {"loss": torch.zeros(())}
            return self._added(answers, self._follow(batch))
        return self._answers(batch)

    @torch.no_grad()
    def right(self, lesson: Lesson) -> list[bool]:
        """Of each question whether its prompt is nearest to the code of what is meant."""
        hidden = self.ask(self.video_rows(lesson)[None], [lesson.questions]).hidden[0]
        prompts = self.model.prompt_vector(hidden[lesson.questions.prompt_rows])
        return self._selection(prompts, lesson)[1].tolist()

    def _answers(self, lessons: Sequence[Lesson]) -> dict[str, torch.Tensor]:
        rows = torch.stack([self.video_rows(lesson) for lesson in lessons])
        asked = self.ask(rows, [lesson.questions for lesson in lessons])
        parts = [self._answer(h, lesson) for h, lesson in zip(asked.hidden, lessons, strict=True)]
        means = {name: torch.stack([p[name] for p in parts]).mean() for name in parts[0]}
        helping = {**self._tracks(asked.states, [lesson.tracks for lesson in lessons]), **self._gaze(asked, lessons)}
        return self._added(means, helping)

    def _answer(self, hidden: torch.Tensor, lesson: Lesson) -> dict[str, torch.Tensor]:
        asked = lesson.questions
        logits = self.model.language_model.lm_head(hidden[asked.labels != IGNORE_INDEX])
        ce = CE_WEIGHT * F.cross_entropy(logits, asked.labels[asked.labels != IGNORE_INDEX])
        prompts = self.model.prompt_vector(hidden[asked.prompt_rows])
        selection, right = self._selection(prompts, lesson)
        out = {"ce": ce, "selection": SELECTION * selection}
        if lesson.sam_features is not None:
            out.update(self._masks(prompts, lesson))
        return {"loss": torch.stack(list(out.values())).sum(), **out, "right": right.float().mean()}

    def _tracks(self, states: torch.Tensor, tracks: Sequence[Tracks | None]) -> dict[str, torch.Tensor]:
        """Nothing where a strategy leaves no rows of single cells."""
        known = [t for t in tracks if t is not None]
        if len(known) < len(tracks):
            return {}
        together = Tracks(*(torch.stack([getattr(t, f.name) for t in known]) for f in fields(Tracks)))
        losses = self.track_head(states[:, -together.motion.shape[1] :], together)
        return {name: TRACKS * value for name, value in losses.items()}

    def _gaze(self, asked: Asked, lessons: Sequence[Lesson]) -> dict[str, torch.Tensor]:
        """Of all looking at cells, the share that goes to what is meant, as a mean negative logarithm."""
        language = self.model.language_model.model
        losses = []
        for b, lesson in enumerate(lessons):
            meant = lesson.members.any(1)
            if lesson.shown is None or not meant.any():
                continue
            at = lesson.questions.prompt_rows[meant]
            things = F.pad(lesson.members[meant], (1, 0))[:, lesson.shown] > 0
            kept = things.any(1)
            for number in range(len(language.layers) - GAZE_LAYERS, len(language.layers)):
                keys = asked.keys[number][b, :GAZE_HEADS, -len(lesson.shown) :]
                states = asked.inputs[number][b, at[kept]]
                query = self._query(language.layers[number], states, asked.length + lesson.questions.place[at[kept]])
                logits = query[:GAZE_HEADS] @ keys.transpose(1, 2) / keys.shape[-1] ** 0.5
                seen = logits.masked_fill(~things[kept], -torch.inf).logsumexp(-1) - logits.logsumexp(-1)
                losses.append(-seen.flatten())
        return {"gaze": GAZE * torch.cat(losses).mean()} if losses else {}

    def _query(self, layer: Any, states: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
        """A layer's queries: (heads, N, d) from its input (N, hidden) at these places."""
        attention, config = layer.self_attn, self.model.config.text_config
        normed = layer.input_layernorm(states)
        flat = attention.q_proj(normed) if hasattr(attention, "q_proj") else attention.qkv_proj(normed)
        query = flat[:, : config.hidden_size].unflatten(1, (config.num_attention_heads, -1)).transpose(0, 1)
        cos, sin = self.model.language_model.model.rotary_emb(states[None], position_ids=place[None])
        first, second = query.chunk(2, -1)
        return query * cos + torch.cat([-second, first], -1) * sin

    def _follow(self, batch: TrackBatch) -> dict[str, torch.Tensor]:
        """Losses of tracks after the lower layers alone; the upper ones are not needed."""
        language = self.model.language_model.model
        states = self._rows(batch.features, batch.sample)
        place = torch.arange(states.shape[1], device=states.device)[None]
        rotary = language.rotary_emb(states, position_ids=place)
        for layer in language.layers[:TRACK_LAYERS]:
            states = layer(states, position_ids=place, position_embeddings=rotary)
        return self._tracks(states, batch.tracks)

    @staticmethod
    def _added(losses: dict[str, torch.Tensor], helping: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {**losses, **helping, "loss": losses["loss"] + sum(helping.values(), torch.zeros(()))}

    def video_rows(self, lesson: Lesson) -> torch.Tensor:
        """What stands for the video: (V, hidden); a row of zeros where it is not shown."""
        if lesson.features is None:
            return torch.zeros(1, self.model.config.text_config.hidden_size, device=lesson.members.device)
        return self._rows(lesson.features[None], lesson.sample)[0]

    def _rows(self, features: torch.Tensor, sample: FrameSample) -> torch.Tensor:
        """Rows of videos: (B, V, hidden) from features (B, F, P, width)."""
        tokens = self.model.projector(features.float())
        unique = sorted(set(sample.frames))
        index = [unique.index(f) for f in sample.frames]
        return torch.stack([self.model.visual_rows(one[index], sample.dense_positions) for one in tokens])

    def ask(self, rows: torch.Tensor, asked: Sequence[Questions]) -> Asked:
        """Videos and the questions about each of them.

        Args:
            rows: (B, V, hidden).
            asked: B packs, with equal ids before the video.
        """
        language = self.model.language_model.model
        cache = DynamicCache()
        before = language.embed_tokens(asked[0].before).expand(len(rows), -1, -1)
        seen = language(
            inputs_embeds=torch.cat([before, rows], 1), past_key_values=cache, use_cache=True, output_hidden_states=True
        )
        length = before.shape[1] + rows.shape[1]
        layers: Any = cache.layers
        keys = [layers[n].keys[:, :, before.shape[1] :] for n in range(len(language.layers))]
        ids = pad_sequence([q.ids for q in asked], batch_first=True)
        owner = pad_sequence([q.owner for q in asked], batch_first=True, padding_value=-1)
        place = pad_sequence([q.place for q in asked], batch_first=True)
        behind = language(
            inputs_embeds=language.embed_tokens(ids),
            attention_mask=packed_mask(length, owner, place, rows.dtype),
            position_ids=length + place,
            past_key_values=cache,
            use_cache=True,
            output_hidden_states=True,
        )
        return Asked(
            states=seen.hidden_states[TRACK_LAYERS][:, before.shape[1] :],
            hidden=[h[: len(q.ids)] for h, q in zip(behind.last_hidden_state, asked, strict=True)],
            inputs=behind.hidden_states,
            keys=keys,
            length=length,
        )

    def _selection(self, prompts: torch.Tensor, lesson: Lesson) -> tuple[torch.Tensor, torch.Tensor]:
        """Nearness to the code of what is meant, and among the codes of everything that anybody could mean here.

        That is each thing, nothing, and every set that one of the questions is about.
        """
        n = lesson.members.shape[1]
        single = torch.cat([torch.eye(n), torch.zeros(1, n)]).to(lesson.members)
        sets = torch.unique(torch.cat([single, lesson.members]), dim=0)
        answer = (lesson.members[:, None] == sets).all(-1).int().argmax(1)
        codes = self.codes(lesson.looks, lesson.places, sets)
        logits = -(prompts[:, None] - codes).square().sum(-1) / SPREAD
        near = (prompts - codes[answer]).square().mean()
        return F.cross_entropy(logits, answer) + NEAR * near, logits.argmax(1) == answer

    def _masks(self, prompts: torch.Tensor, lesson: Lesson) -> dict[str, torch.Tensor]:
        assert lesson.sam_features is not None and lesson.masks is not None
        features = lesson.sam_features.float()
        low = decode_each(self.model, features, prompts.expand(len(features), -1, -1))
        size = (lesson.masks.shape[-2], lesson.masks.shape[-1])
        logits = self.model.upsample_masks(low, size, size)
        bce, dice = mask_losses([logits.flatten(0, 1)], [lesson.masks.transpose(0, 1).flatten(0, 1)])
        return {"bce": BCE_WEIGHT * bce, "dice": DICE_WEIGHT * dice}


def packed_mask(before: int, owner: torch.Tensor, place: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Additive mask (B, 1, Q, before + Q): a row sees the video and its own question up to itself.

    Args:
        before: rows of the video, and before it.
        owner, place: int64 (B, Q), of ``Questions``.
        dtype: of the mask.
    """
    mine = (owner[:, :, None] == owner[:, None]) & (place[:, :, None] >= place[:, None])
    visible = torch.cat([torch.ones(*owner.shape, before, dtype=torch.bool, device=owner.device), mine], -1)
    hidden = torch.zeros(visible.shape, dtype=dtype, device=owner.device)
    return hidden.masked_fill(~visible, torch.finfo(dtype).min)[:, None]


# Lessons --------------------------------------------------------------------------------------------------------------


def pack(conversations: Sequence[tuple[list[int], list[int]]], before: list[int], seg: int) -> Questions:
    """Questions and their answers, as ids (up to and with the assistant's tag; the answer), packed."""
    ids: list[int] = []
    owner: list[int] = []
    place: list[int] = []
    labels: list[int] = []
    prompt_rows: list[int] = []
    for n, (asked, answer) in enumerate(conversations):
        whole = asked + answer
        prompt_rows.append(len(ids) + whole.index(seg) - 1)
        ids += whole
        owner += [n] * len(whole)
        place += range(len(whole))
        labels += [IGNORE_INDEX] * (len(asked) - 1) + answer + [IGNORE_INDEX]
    return Questions(*(torch.tensor(values) for values in (before, ids, owner, place, labels, prompt_rows)))


def video_questions(
    sentences: Sequence[Sentence], processor: Processor, seg: int, rng: np.random.Generator
) -> Questions:
    """Worded as at inference; the answer is drawn from the paper's, the one of inference half of the time."""
    tokenizer = processor.tokenizer
    assistant = tokenizer.token_id("<|assistant|>")
    pairs, before = [], []
    for sentence in sentences:
        answer = ANSWER if rng.random() < 0.5 else TRAINING_ANSWERS[int(rng.integers(len(TRAINING_ANSWERS)))]
        asked = question(sentence.expression.text, template_for(sentence.expression))
        ids = processor.input_ids(conversation(asked, answer)).tolist()
        video, end = ids.index(IMAGE_TOKEN), ids.index(assistant) + 1
        before = ids[:video]
        pairs.append((ids[video + 1 : end], ids[end:]))
    return pack(pairs, before, seg)


def draw_sentences(
    video: SceneVideo, count: int, shares: Mapping[str, float], rng: np.random.Generator
) -> list[Sentence]:
    """So many different sentences of a video (fewer where it has fewer), kinds in their shares.

    A video without a sentence of these kinds is asked about all that it has.
    """
    sizes = Counter(s.kind for s in video.sentences)
    weights = np.array([shares.get(s.kind, 0.0) / sizes[s.kind] for s in video.sentences])
    weights = weights if weights.any() else np.ones(len(weights))
    count = min(count, int((weights > 0).sum()))
    chosen = rng.choice(len(weights), size=count, replace=False, p=weights / weights.sum())
    return [video.sentences[int(i)] for i in chosen]


def members_of(sentences: Sequence[Sentence], count: int) -> torch.Tensor:
    """1 where a sentence means a thing: float (sentences, count)."""
    members = torch.zeros(len(sentences), count)
    for row, sentence in zip(members, sentences, strict=True):
        row[list(sentence.targets)] = 1
    return members


def unseen(lesson: Lesson) -> Lesson:
    """The lesson without its video."""
    return replace(lesson, features=None, shown=None, tracks=None)


class VideoLessons:
    """Makes lessons for videolisa-nano; CLIP's and SAM's features are kept in half precision once computed."""

    def __init__(
        self, model: VideoLisaModel, processor: Processor, scenes: Sequence[SceneVideo], tracked: bool = True
    ) -> None:
        """``tracked``: whether rows are asked what their things have done, under strategies where they can be."""
        self.model, self.processor, self.scenes, self.tracked = model, processor, scenes, tracked
        self._clip: dict[int, torch.Tensor] = {}
        self._tracks: dict[tuple[int, ...], Tracks] = {}
        self._sam: dict[tuple[int, int], torch.Tensor] = {}

    def draw(
        self,
        rng: np.random.Generator,
        videos: int,
        sentences: int,
        frames: int,
        shares: Mapping[str, float],
        shown: bool = True,
    ) -> list[Lesson]:
        """Random videos with random sentences; masks on ``frames`` of the frames, none where that is 0.

        Where the videos are not ``shown``, only the words are there to go by.
        """
        lessons = []
        for index in rng.integers(len(self.scenes), size=videos):
            drawn = draw_sentences(self.scenes[int(index)], sentences, shares, rng)
            lesson = self.lesson(int(index), drawn, rng, frames)
            lessons.append(lesson if shown else unseen(lesson))
        return lessons

    def exam(self, index: int) -> Lesson:
        """All sentences of a video at once, without masks."""
        return self.lesson(index, self.scenes[index].sentences, np.random.default_rng(0), 0)

    def lesson(self, index: int, sentences: Sequence[Sentence], rng: np.random.Generator, frames: int) -> Lesson:
        """A video with chosen sentences."""
        video, config = self.scenes[index], self.model.config
        sample = self.sample(index)
        supervised = sorted(rng.choice(sample.frames, size=frames, replace=False).tolist()) if frames else []
        masks = np.stack([video.masks(s.targets, supervised) for s in sentences]) if frames else None
        return Lesson(
            features=self.clip_features(index)[sorted(set(sample.frames))],
            sample=sample,
            questions=video_questions(sentences, self.processor, config.seg_token_id, rng),
            looks=torch.from_numpy(video.looks),
            places=torch.from_numpy(video.mean_places()),
            members=members_of(sentences, len(video.looks)),
            shown=self.shown(index),
            tracks=None if frames else self.tracks(index),
            sam_features=torch.cat([self.sam_features(index, t) for t in supervised]) if frames else None,
            masks=None if masks is None else torch.from_numpy(masks).float(),
            kinds=tuple(s.kind for s in sentences),
        )

    def draw_tracks(self, rng: np.random.Generator, videos: int, lessons: list[Lesson]) -> TrackBatch:
        """Random videos without sentences, beside lessons."""
        chosen = [int(index) for index in rng.integers(len(self.scenes), size=videos)]
        sample = self.sample(chosen[0])
        frames = sorted(set(sample.frames))
        return TrackBatch(
            features=torch.stack([self.clip_features(index)[frames] for index in chosen]),
            sample=sample,
            tracks=[self.tracks(index) for index in chosen],
            lessons=lessons,
        )

    def sample(self, index: int) -> FrameSample:
        """The frames of a video that are seen."""
        config, total = self.model.config, len(self.scenes[index].frames)
        return sample_frames(total, config.sparse_frames, config.dense_frames, config.temporal_strategy)

    @property
    def follows(self) -> bool:
        """Whether rows are asked what their things do: those of single cells, which a pooled strategy has none of."""
        return self.tracked and self._of_cells

    @property
    def _of_cells(self) -> bool:
        return self.model.config.temporal_strategy in CELL_ROWS

    def tracks(self, index: int) -> Tracks | None:
        """Facts about a video's dense rows; None where they are not asked for."""
        if not self.follows:
            return None
        frames = self.sample(index).dense_frames
        key = (index, *frames)
        if key not in self._tracks:
            self._tracks[key] = tracks_of(self.scenes[index], frames, self.side)
        return self._tracks[key]

    def shown(self, index: int) -> torch.Tensor | None:
        """See ``Lesson.shown``."""
        if not self._of_cells:
            return None
        cells = [self.scenes[index].cells(t, self.side, self.side) for t in self.sample(index).dense_frames]
        return torch.from_numpy(np.stack(cells).ravel())

    @property
    def side(self) -> int:
        """Of the square of CLIP's patches."""
        return int(self.model.config.tokens_per_frame**0.5)

    @torch.no_grad()
    def clip_features(self, index: int) -> torch.Tensor:
        """CLIP features of all frames of a video: float16 (T, P, width)."""
        if index not in self._clip:
            pixels = torch.stack([self.processor.clip_pixels(f) for f in self.scenes[index].frames])
            self._clip[index] = self.model.clip_features(pixels).half()
        return self._clip[index]

    @torch.no_grad()
    def sam_features(self, index: int, frame: int) -> torch.Tensor:
        """SAM's embedding of a frame: float16 (1, C, g, g)."""
        if (index, frame) not in self._sam:
            pixels = self.processor.sam_pixels(self.scenes[index].frames[frame])[None]
            self._sam[index, frame] = self.model.sam_features(pixels).half()
        return self._sam[index, frame]
