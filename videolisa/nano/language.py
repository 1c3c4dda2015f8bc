"""The language stage: projector, language model and prompt head learn what the sentences mean, then the masks.

All sentences of a video go through the language model together: its rows once, then every question behind them in one
packed sequence in which a question sees the video and itself, as ``prefix`` does at inference. CLIP nano and SAM nano
are frozen, so their features are computed once a video.

Losses beside the paper's (text cross entropy, BCE, dice):

* selection: the prompt vector is drawn to the code that SAM nano was taught for the things meant
  (``vision.ThingCodes``) and away from those of the video's other things;
* history: hidden states of dense rows that show a thing say how it moves and what has happened to it so far.

Both come from the scene graph and only help training; nothing of them is in the model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn
from transformers import DynamicCache

from ..losses import BCE_WEIGHT, CE_WEIGHT, DICE_WEIGHT, IGNORE_INDEX, mask_losses
from ..modeling import IMAGE_TOKEN, VideoLisaModel
from ..processor import Processor
from ..prompts import ANSWER, TRAINING_ANSWERS, conversation, question, template_for
from ..sampling import FrameSample, sample_frames
from .scenes import EVENTS, MOTIONS, NEVER, NOT_CLEAR, SceneVideo, Sentence
from .vision import ThingCodes, decode_each

#: Weights of the two helping losses.
SELECTION, HISTORY = 1.0, 0.5
#: Squared distances between prompt and codes are divided by this before they are compared.
SPREAD = 8.0
#: Weight of the squared distance itself.
NEAR = 0.5
#: Hidden state (embeddings first) whose rows must know what happened: the layers above it answer.
HISTORY_LAYER = 2
#: How often each kind of sentence is drawn: at first those whose words name a look, then those that a single frame
#: answers, then as the benchmark asks.
WORDS = {"attribute": 0.7, "multi-object": 0.2, "world-knowledge": 0.1}
LOOKS = {
    "attribute": 0.4,
    "multi-object": 0.2,
    "spatial": 0.2,
    "world-knowledge": 0.1,
    "no-target": 0.05,
    "motion": 0.05,
}
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
        motion: int64 (rows, ), see ``_history``; ``happened`` int64 (rows, 8).
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
    motion: torch.Tensor
    happened: torch.Tensor
    sam_features: torch.Tensor | None
    masks: torch.Tensor | None
    kinds: tuple[str, ...]


class HistoryHead(nn.Module):
    """How a thing moves and which of ``EVENTS`` have happened to it, first of all or not."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.motion, self.happened = nn.Linear(width, len(MOTIONS)), nn.Linear(width, 3 * len(EVENTS))

    def forward(self, rows: torch.Tensor, motion: torch.Tensor, happened: torch.Tensor) -> torch.Tensor:
        """Mean cross entropy. motion: int64 (R,); happened: int64 (R, 8), 0 no, 1 first, 2 later."""
        events = self.happened(rows).unflatten(-1, (len(EVENTS), 3)).flatten(0, 1)
        return F.cross_entropy(self.motion(rows), motion, ignore_index=IGNORE_INDEX) + F.cross_entropy(
            events, happened.flatten(), ignore_index=IGNORE_INDEX
        )


class LanguageStage(nn.Module):
    """Everything but CLIP and SAM's image encoder."""

    def __init__(self, model: VideoLisaModel, codes: ThingCodes) -> None:
        super().__init__()
        self.model, self.codes = model, codes
        self.history = HistoryHead(model.config.text_config.hidden_size)

    def forward(self, lessons: Sequence[Lesson]) -> dict[str, torch.Tensor]:
        """Mean losses over the lessons, and the share of questions whose prompt is nearest to the right code."""
        parts = [self._lesson(lesson) for lesson in lessons]
        return {name: torch.stack([p[name] for p in parts]).mean() for name in parts[0]}

    @torch.no_grad()
    def right(self, lesson: Lesson) -> list[bool]:
        """Of each question whether its prompt is nearest to the code of what is meant."""
        _, hidden = self.ask(self.video_rows(lesson), lesson.questions)
        prompts = self.model.prompt_vector(hidden[lesson.questions.prompt_rows])
        return self._selection(prompts, lesson)[1].tolist()

    def _lesson(self, lesson: Lesson) -> dict[str, torch.Tensor]:
        rows = self.video_rows(lesson)
        states, hidden = self.ask(rows, lesson.questions)
        asked = lesson.questions
        logits = self.model.language_model.lm_head(hidden[asked.labels != IGNORE_INDEX])
        ce = CE_WEIGHT * F.cross_entropy(logits, asked.labels[asked.labels != IGNORE_INDEX])
        prompts = self.model.prompt_vector(hidden[asked.prompt_rows])
        selection, right = self._selection(prompts, lesson)
        out = {"ce": ce, "selection": SELECTION * selection, "history": HISTORY * self._history(states, lesson)}
        if lesson.sam_features is not None:
            out.update(self._masks(prompts, lesson))
        return {"loss": torch.stack(list(out.values())).sum(), **out, "right": right.float().mean()}

    def video_rows(self, lesson: Lesson) -> torch.Tensor:
        """What stands for the video: (V, hidden); a row of zeros where it is not shown."""
        if lesson.features is None:
            return torch.zeros(1, self.model.config.text_config.hidden_size, device=lesson.members.device)
        tokens = self.model.projector(lesson.features.float())
        unique = sorted(set(lesson.sample.frames))
        index = [unique.index(f) for f in lesson.sample.frames]
        return self.model.visual_rows(tokens[index], lesson.sample.dense_positions)

    def ask(self, rows: torch.Tensor, asked: Questions) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden states of the video's rows in layer ``HISTORY_LAYER`` (V, hidden) and of all questions (Q, hidden)."""
        language = self.model.language_model.model
        cache = DynamicCache()
        before = torch.cat([language.embed_tokens(asked.before), rows])
        seen = language(inputs_embeds=before[None], past_key_values=cache, use_cache=True, output_hidden_states=True)
        length = len(before)
        behind = language(
            inputs_embeds=language.embed_tokens(asked.ids)[None],
            attention_mask=packed_mask(length, asked.owner, asked.place, rows.dtype),
            position_ids=(length + asked.place)[None],
            past_key_values=cache,
            use_cache=True,
        )
        return seen.hidden_states[HISTORY_LAYER][0, len(asked.before) :], behind.last_hidden_state[0]

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

    def _history(self, states: torch.Tensor, lesson: Lesson) -> torch.Tensor:
        dense = states[len(states) - len(lesson.motion) :]
        known = lesson.motion != IGNORE_INDEX
        if not known.any():
            return states.sum() * 0
        return self.history(dense[known], lesson.motion[known], lesson.happened[known])

    def _masks(self, prompts: torch.Tensor, lesson: Lesson) -> dict[str, torch.Tensor]:
        assert lesson.sam_features is not None and lesson.masks is not None
        features = lesson.sam_features.float()
        low = decode_each(self.model, features, prompts.expand(len(features), -1, -1))
        size = (lesson.masks.shape[-2], lesson.masks.shape[-1])
        logits = self.model.upsample_masks(low, size, size)
        bce, dice = mask_losses([logits.flatten(0, 1)], [lesson.masks.transpose(0, 1).flatten(0, 1)])
        return {"bce": BCE_WEIGHT * bce, "dice": DICE_WEIGHT * dice}


def packed_mask(before: int, owner: torch.Tensor, place: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Additive mask (1, 1, Q, before + Q): a row sees the video and its own question up to itself."""
    mine = (owner[:, None] == owner[None]) & (place[:, None] >= place[None])
    visible = torch.cat([torch.ones(len(owner), before, dtype=torch.bool), mine], 1)
    return torch.zeros(visible.shape, dtype=dtype).masked_fill(~visible, torch.finfo(dtype).min)[None, None]


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


def history(video: SceneVideo, frames: Sequence[int], side: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """What the thing in each patch of each frame does and has done: int64 (F * side², ) and (F * side², 8).

    Motion is an index into ``MOTIONS``; an event has not happened yet (0), was the first of its kind (1) or was not
    (2). ``IGNORE_INDEX`` where a patch shows nothing or the fact is too close to call.
    """
    motion, happened = [], []
    for t in frames:
        cells = video.cells(t, side, side).ravel()
        shown = cells > 0
        so_far = _so_far(video.moments, t)
        motion.append(np.where(shown & (t > 0), video.motion[cells - 1, t], IGNORE_INDEX))
        happened.append(np.where(shown[:, None], so_far[cells - 1], IGNORE_INDEX))
    return np.concatenate(motion), np.concatenate(happened)


def _so_far(moments: NDArray[np.int64], frame: int) -> NDArray[np.int64]:
    """int64 (n, 8): per thing and event 0 not yet, 1 first, 2 later, ``IGNORE_INDEX`` unclear."""
    clear = moments != NOT_CLEAR
    known = np.where(clear, moments, NEVER)
    done = known <= frame
    state = np.where(done, np.where(known == known.min(0), 1, 2), 0)
    return np.where(clear, state, IGNORE_INDEX)


def unseen(lesson: Lesson) -> Lesson:
    """The lesson without its video."""
    return replace(lesson, features=None, motion=lesson.motion[:0], happened=lesson.happened[:0])


class VideoLessons:
    """Makes lessons for videolisa-nano; CLIP's and SAM's features are kept in half precision once computed."""

    def __init__(self, model: VideoLisaModel, processor: Processor, scenes: Sequence[SceneVideo]) -> None:
        self.model, self.processor, self.scenes = model, processor, scenes
        self._clip: dict[int, torch.Tensor] = {}
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
        sample = sample_frames(len(video.frames), config.sparse_frames, config.dense_frames, config.temporal_strategy)
        side = int(config.tokens_per_frame**0.5)
        dense = sample.dense_frames if config.temporal_strategy in ("sparse-dense", "n-frame") else ()
        motion, happened = history(video, dense, side) if dense else (np.empty(0, np.int64), np.empty((0, 8), np.int64))
        supervised = sorted(rng.choice(sample.frames, size=frames, replace=False).tolist()) if frames else []
        masks = np.stack([video.masks(s.targets, supervised) for s in sentences]) if frames else None
        return Lesson(
            features=self.clip_features(index)[sorted(set(sample.frames))],
            sample=sample,
            questions=video_questions(sentences, self.processor, config.seg_token_id, rng),
            looks=torch.from_numpy(video.looks),
            places=torch.from_numpy(video.mean_places()),
            members=members_of(sentences, len(video.looks)),
            motion=torch.from_numpy(motion),
            happened=torch.from_numpy(happened),
            sam_features=torch.cat([self.sam_features(index, t) for t in supervised]) if frames else None,
            masks=None if masks is None else torch.from_numpy(masks).float(),
            kinds=tuple(s.kind for s in sentences),
        )

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
