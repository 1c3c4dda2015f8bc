"""One video in the language model, many questions about it.

System text and video rows stand before the question and attention is causal, so their keys and values are the same
for every sentence. They are computed once; a question then costs some 30 rows instead of 2,390, and in exact arithmetic
nothing changes. On a GPU the questions go through together, packed into one sequence in which each sees the video and
itself. On a CPU they go one by one: a sentence then takes the same steps in the same shapes, and gets the same vector,
whatever else is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from transformers import DynamicCache

from ..datasets.errors import UsageError
from ..datasets.types import Video
from .checkpoints import VideoLisa
from .modeling import IMAGE_TOKEN, VideoLisaModel
from .prompts import ANSWER, conversation
from .sampling import FrameSample, sample_frames

#: Frames that CLIP encodes at a time.
CLIP_BATCH = 8
#: Rows of packed questions that go through the language model at a time, by device type; 1 is a question a pass.
ROWS_PER_PASS = {"cuda": 1024, "cpu": 1}
#: Attention implementations that take an explicit mask, which packing needs.
MASKED_ATTENTION = ("sdpa", "eager")


class VideoPrefix:
    """Keys and values of everything before the question, and what is asked of them.

    Attributes:
        sample: the frames that the language model sees.
        length: rows of the prefix, text before the video and the video itself.
    """

    def __init__(self, videolisa: VideoLisa, video: Video) -> None:
        self.videolisa = videolisa
        config = videolisa.model.config
        self.sample = sample_frames(len(video), config.sparse_frames, config.dense_frames, config.temporal_strategy)
        rows = video_rows(videolisa, video, self.sample)
        self._head, _ = _split(videolisa, conversation(""))
        before = self._model.language_model.model.embed_tokens(self._head)
        self._cache = DynamicCache()
        self._run(torch.cat([before, rows.to(before.dtype)]), None, None)
        self.length = len(before) + len(rows)

    def prompt_vectors(self, questions: Sequence[str], answer: str = ANSWER) -> torch.Tensor:
        """The vector that prompts SAM, for every question: (len(questions), prompt_dim).

        The answer is given, not generated (teacher forcing), and ends in the row before its ``[SEG]``.

        Raises:
            UsageError: without a question, or unless the answer holds one ``[SEG]``.
        """
        if not questions:
            raise UsageError("Expected at least one question about the video, found none.")
        tails = [self._until_prompt_row(question, answer) for question in questions]
        hidden = [state for group in _groups(tails, self._rows_per_pass) for state in self._last_rows(group)]
        return torch.stack([self._model.prompt_vector(state) for state in hidden])

    def answer(self, question: str, max_new_tokens: int = 128) -> str:
        """The language model's own words, decoded greedily up to the end of its turn."""
        tokenizer = self.videolisa.processor.tokenizer
        stop = {tokenizer.eos_id, tokenizer.token_id("<|end|>")}
        _, tail = _split(self.videolisa, conversation(question, None))
        embed = self._model.language_model.model.embed_tokens
        hidden = self._run(embed(tail), None, None)[-1]
        said: list[int] = []
        while len(said) < max_new_tokens:
            token = int(self._model.language_model.lm_head(hidden).argmax())
            if token in stop:
                break
            said.append(token)
            hidden = self._run(embed(torch.tensor([token], device=self._device)), None, None)[-1]
        self._forget()
        return tokenizer.decode(said)

    @property
    def _model(self) -> VideoLisaModel:
        return self.videolisa.model

    @property
    def _device(self) -> torch.device:
        return self._model.device

    @property
    def _rows_per_pass(self) -> int:
        packs = self._model.config.text_config._attn_implementation in MASKED_ATTENTION
        return ROWS_PER_PASS.get(self._device.type, 1) if packs else 1

    def _until_prompt_row(self, question: str, answer: str) -> torch.Tensor:
        """Ids behind the video up to the row before ``[SEG]``; what follows has no effect on that row."""
        _, tail = _split(self.videolisa, conversation(question, answer))
        places = torch.nonzero(tail == self._model.config.seg_token_id).flatten()
        if len(places) != 1:
            raise UsageError(f"The answer must hold [SEG] once, found {len(places)} in question and answer: {answer!r}")
        return tail[: int(places[0])]

    def _last_rows(self, tails: list[torch.Tensor]) -> list[torch.Tensor]:
        """Hidden state (hidden,) of the last row of each tail, all tails in one pass."""
        embeds = self._model.language_model.model.embed_tokens(torch.cat(tails))
        lengths = torch.tensor([len(tail) for tail in tails])
        if len(tails) == 1:
            hidden = self._run(embeds, None, None)
        else:
            owner = torch.repeat_interleave(torch.arange(len(tails)), lengths).to(self._device)
            place = torch.cat([torch.arange(n) for n in lengths.tolist()]).to(self._device)
            hidden = self._run(embeds, self.length + place, self._packed_mask(owner, place))
        self._forget()
        return [hidden[i] for i in (lengths.cumsum(0) - 1).tolist()]

    def _forget(self) -> None:
        """Drop everything behind the prefix from the cache."""
        self._cache.crop(self.length - self._cache.get_seq_length())

    def _packed_mask(self, owner: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
        """Additive mask (1, 1, Q, prefix + Q): each row sees the prefix and its own question, within the window."""
        window = self._model.config.text_config.sliding_window
        prefix = torch.arange(self.length, device=place.device)
        position = torch.cat([prefix, self.length + place])
        distance = (self.length + place)[:, None] - position[None]
        visible = distance >= 0 if window is None else (distance >= 0) & (distance < window)
        visible[:, self.length :] &= owner[:, None] == owner[None]
        mask = torch.zeros(visible.shape, dtype=self._model.dtype, device=place.device)
        return mask.masked_fill(~visible, torch.finfo(mask.dtype).min)[None, None]

    def _run(self, embeds: torch.Tensor, positions: torch.Tensor | None, mask: torch.Tensor | None) -> torch.Tensor:
        """Rows (Q, hidden) through the language model behind what the cache holds: (Q, hidden)."""
        return self._model.language_model.model(
            inputs_embeds=embeds[None],
            attention_mask=mask,
            position_ids=None if positions is None else positions[None],
            past_key_values=self._cache,
            use_cache=True,
        ).last_hidden_state[0]


def video_rows(videolisa: VideoLisa, video: Video, sample: FrameSample) -> torch.Tensor:
    """A video's rows (V, hidden): every distinct sampled frame goes through CLIP once, in batches."""
    model, processor = videolisa.model, videolisa.processor
    unique = sorted(set(sample.frames))
    tokens = []
    for start in range(0, len(unique), CLIP_BATCH):
        pixels = torch.stack([processor.clip_pixels(video.frame(i)) for i in unique[start : start + CLIP_BATCH]])
        tokens.append(model.encode_frames(pixels.to(model.device)))
    place = {frame: n for n, frame in enumerate(unique)}
    return model.visual_rows(torch.cat(tokens)[[place[f] for f in sample.frames]], sample.dense_positions)


def _split(videolisa: VideoLisa, text: str) -> tuple[torch.Tensor, torch.Tensor]:
    """A conversation's ids before and behind the video, on the model's device."""
    ids = videolisa.processor.input_ids(text).to(videolisa.model.device)
    place = int(torch.nonzero(ids == IMAGE_TOKEN)[0])
    return ids[:place], ids[place + 1 :]


def _groups(tails: Sequence[torch.Tensor], rows: int) -> Iterator[list[torch.Tensor]]:
    """Consecutive tails of at most ``rows`` rows together; one tail where a single one is longer."""
    group: list[torch.Tensor] = []
    for tail in tails:
        if group and sum(map(len, group)) + len(tail) > rows:
            yield group
            group = []
        group.append(tail)
    if group:
        yield group
