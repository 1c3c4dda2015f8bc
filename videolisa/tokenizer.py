"""Text to token ids exactly as the released model was trained with: the slow Llama (SentencePiece) tokenizer.

transformers 5 has only the fast one, which drops the ``▁`` after BOS and so shifts every position. SentencePiece is
used directly here; the rules around it are few: a prefix ``▁``, added tokens that swallow the whitespace after them,
and no dummy prefix on the pieces between them.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..datasets.errors import MissingExtraError, UsageError

PREFIX = "▁"
MODEL_FILE = "tokenizer.model"
CONFIG_FILE = "tokenizer_config.json"
ADDED_FILE = "added_tokens.json"

#: Protocol-buffer bytes of ``ModelProto{normalizer_spec{add_dummy_prefix: false}}``. Concatenated messages merge, so
#: appending them to a model file switches off SentencePiece's own prefix: ours is written explicitly.
NO_DUMMY_PREFIX = b"\x1a\x02\x18\x00"


@dataclass(frozen=True)
class AddedToken:
    """A token beside the SentencePiece vocabulary; with ``rstrip`` it swallows the whitespace after it."""

    text: str
    id: int
    lstrip: bool = False
    rstrip: bool = False


class Tokenizer:
    """The slow Llama tokenizer (legacy off) over a folder's ``tokenizer.model`` and ``tokenizer_config.json``."""

    def __init__(self, folder: str | Path) -> None:
        """
        Raises:
            UsageError: where the folder has no tokenizer files.
            MissingExtraError: where sentencepiece is not installed.
        """
        self.folder = Path(folder)
        if not (self.folder / MODEL_FILE).is_file():
            raise UsageError(
                f"No {MODEL_FILE} in {self.folder}: expected the checkpoint's SentencePiece tokenizer files there."
            )
        config = _read_json(self.folder / CONFIG_FILE)
        self.added = {token.text: token for token in _added_tokens(config, _read_json(self.folder / ADDED_FILE))}
        self.unk_token = _content(config, "unk_token", "<unk>")
        self.bos_token = _content(config, "bos_token", "<s>")
        self.eos_token = _content(config, "eos_token", "</s>")
        self.pad_token = _content(config, "pad_token", self.unk_token)

    @cached_property
    def _pieces(self) -> Any:
        try:
            from sentencepiece import SentencePieceProcessor
        except ImportError as error:
            raise MissingExtraError("The VideoLISA tokenizer", "models") from error
        return SentencePieceProcessor(model_proto=(self.folder / MODEL_FILE).read_bytes() + NO_DUMMY_PREFIX)

    def __len__(self) -> int:
        """Number of ids, added tokens included."""
        return max([self._pieces.get_piece_size() - 1, *(t.id for t in self.added.values())]) + 1

    @property
    def bos_id(self) -> int:
        return self.token_id(self.bos_token)

    @property
    def eos_id(self) -> int:
        return self.token_id(self.eos_token)

    @property
    def pad_id(self) -> int:
        return self.token_id(self.pad_token)

    @property
    def seg_id(self) -> int:
        """Id of ``[SEG]``: the last id of tokenising it alone (the first is the prefix)."""
        return self.encode("[SEG]")[-1]

    def token_id(self, token: str) -> int:
        """Id of one token; the unknown token's where there is none."""
        return self.added[token].id if token in self.added else self._pieces.piece_to_id(token)

    def encode(self, text: str, bos: bool = True) -> list[int]:
        """Token ids of a text, BOS first. No truncation, no EOS."""
        ids = [self.bos_id] if bos else []
        for part in self._split(text):
            ids.extend([self.added[part].id] if part in self.added else self._encode_piece(part))
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids; added tokens in angle brackets (tags, end of text) are left out, ``[SEG]`` is kept."""
        by_id = {token.id: token.text for token in self.added.values()}
        parts: list[str] = []
        run: list[int] = []
        for token_id in [*ids, None]:
            if token_id is not None and token_id not in by_id:
                run.append(token_id)
                continue
            parts.append("".join(self._pieces.id_to_piece(run)) if run else "")
            run = []
            if token_id is not None and not by_id[token_id].startswith("<"):
                parts.append(by_id[token_id])
        return _unescape_bytes("".join(parts)).replace(PREFIX, " ").strip()

    def save(self, folder: str | Path) -> None:
        """Copy the tokenizer's files."""
        for name in (MODEL_FILE, CONFIG_FILE, ADDED_FILE):
            if (self.folder / name).is_file():
                shutil.copyfile(self.folder / name, Path(folder) / name)

    def _split(self, text: str) -> list[str]:
        """Added tokens and the stretches between them, stripped as the added tokens' flags say."""
        if not text:
            return []
        parts = [p for p in re.split(self._added_pattern, PREFIX + text.replace(PREFIX, " ")) if p]
        for i, part in enumerate(parts):
            token = self.added.get(part)
            if token is not None and token.rstrip and i + 1 < len(parts):
                parts[i + 1] = parts[i + 1].lstrip()
            if token is not None and token.lstrip and i > 0:
                parts[i - 1] = parts[i - 1].rstrip()
        parts = [p for p in parts if p]
        named = {self.bos_token, self.eos_token, self.unk_token, self.pad_token}
        return parts[1:] if len(parts) > 1 and parts[0] == PREFIX and parts[1] in named else parts

    @cached_property
    def _added_pattern(self) -> str:
        longest_first = sorted(self.added, key=len, reverse=True)
        return "(" + "|".join(map(re.escape, longest_first)) + ")"

    def _encode_piece(self, text: str) -> list[int]:
        """A leading space survives only behind other text, so such pieces are encoded behind the unknown token."""
        if not text.startswith((PREFIX, " ")):
            return self._pieces.encode(text)
        return self._pieces.encode(self.unk_token + text)[len(self._pieces.encode(self.unk_token)) :]


def _added_tokens(config: dict[str, Any], plain: dict[str, int]) -> Iterator[AddedToken]:
    flagged = config.get("added_tokens_decoder", {})
    for token_id, entry in flagged.items():
        yield AddedToken(entry["content"], int(token_id), entry.get("lstrip", False), entry.get("rstrip", False))
    for text, token_id in plain.items():
        if str(token_id) not in flagged:
            yield AddedToken(text, token_id)


def _content(config: dict[str, Any], key: str, default: str) -> str:
    value = config.get(key) or default
    return value["content"] if isinstance(value, dict) else value


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _unescape_bytes(text: str) -> str:
    """Runs of byte pieces such as ``<0xE2><0x82><0xAC>`` to the characters they spell."""
    return re.sub(
        r"(?:<0x[0-9A-F]{2}>)+",
        lambda run: bytes.fromhex(re.sub(r"[<>]|0x", "", run.group())).decode("utf-8", errors="replace"),
        text,
    )
