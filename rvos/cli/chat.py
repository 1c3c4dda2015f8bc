"""``rvos chat``: ask VideoLISA about one video."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

if TYPE_CHECKING:
    from ..videolisa.chat import OverlayFormat


def chat(
    video: Annotated[Path, typer.Option(help="A video file (mp4, …) or a folder of frames.")],
    prompt: Annotated[list[str], typer.Option(help="What to segment, in words; may be given several times.")],
    model: Annotated[str, typer.Option(help="Checkpoint: a folder, or owner/name on the Hugging Face hub.")],
    out: Annotated[Path, typer.Option(help="Folder for masks, overlay and chat.json.")] = Path("chat"),
    overlay: Annotated[str, typer.Option(help="mp4 or gif.")] = "mp4",
    answer_tokens: Annotated[int, typer.Option(help="Most tokens of the answer text; 0 leaves it out.")] = 128,
    device: Annotated[str | None, typer.Option(help="cuda or cpu; by default what is there.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print chat.json instead of words.")] = False,
) -> None:
    """Segment what a sentence asks for in one video, paint it over the frames, and print the model's own answer."""
    from ..datasets.errors import MissingExtraError

    try:
        from ..videolisa.chat import chat as ask
        from ..videolisa.predictor import VideoLisaPredictor
    except ImportError as error:
        raise MissingExtraError("rvos chat", "models") from error
    predictor = VideoLisaPredictor.from_pretrained(model, device=device)
    result = ask(predictor, video, prompt, out, overlay=cast("OverlayFormat", overlay), answer_tokens=answer_tokens)
    if as_json:
        print(json.dumps(json.loads(result.report.read_text(encoding="utf-8"))))
        return
    for reply in result.replies:
        print(f"{reply.prompt}")
        if reply.answer is not None:
            print(f"  {reply.answer or '(no words)'}")
        print(f"  found in {reply.frames_with_object} of {reply.frames} frames; masks: {reply.masks}")
    print(result.overlay)


chat.epilog = 'Example: rvos chat --video dog.mp4 --prompt "the dog that runs" --model checkpoints/videolisa'  # type: ignore[attr-defined]
