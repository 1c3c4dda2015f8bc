"""The questions, answers and the conversation around them, word for word as the released scripts have them."""

from __future__ import annotations

from ..datasets.errors import UnknownNameError
from ..datasets.types import Expression

#: Marks the place of the video in a conversation.
VIDEO = "<image>"
SEG = "[SEG]"

SYSTEM = "You are a helpful AI assistant."
ANSWER = f"Sure, {SEG}."
IMAGE_ANSWER = f"{SEG}."

#: ``{lower}`` is the expression in lower case. ReasonVOS asks phrases "in this scene", the other scripts "in this
#: image"; "the the" is what an expression that starts with "the" gives. Questions about images begin with a blank and
#: speak of a video; texts of refCOCO are put in lower case, those of ReasonSeg are not, and both lose outer blanks.
QUESTIONS = {
    "reasonvos-sentence": "{text}. Please output the segmentation masks.",
    "reasonvos-phrase": "Please segment the {lower} in this scene.",
    "referring": "Please segment the {lower} in this image.",
    "chat": "{text}",
    "image-sentence": " {text} Please output segmentation mask.",
    "image-phrase": " What is {text} in this video? Please output segmentation mask.",
    "image-referring": " What is {lower} in this video? Please output segmentation mask.",
}

TRAINING_PHRASE_QUESTIONS = (
    "Can you segment the {} in this image?",
    "Please segment the {} in this image.",
    "What is {} in this image? Please respond with segmentation mask.",
    "What is {} in this image? Please output segmentation mask.",
)
TRAINING_SENTENCE_QUESTIONS = (
    "{} Please respond with segmentation mask.",
    "{} Please output segmentation mask.",
)
TRAINING_ANSWERS = (
    f"It is {SEG}.",
    f"Sure, {SEG}.",
    f"Sure, it is {SEG}.",
    f"Sure, the segmentation result is {SEG}.",
    f"{SEG}.",
)
EXPLANATION_REQUESTS = (
    "Please output segmentation mask and explain why.",
    "Please output segmentation mask and explain the reason.",
    "Please output segmentation mask and give some explanation.",
)


def question(text: str, template: str) -> str:
    """The question that a released script asks about an expression.

    Args:
        text: the expression as annotated.
        template: a name of ``QUESTIONS``.

    Raises:
        UnknownNameError: for an unknown template.
    """
    if template not in QUESTIONS:
        raise UnknownNameError("question template", template, QUESTIONS)
    text = text.strip() if template.startswith("image-") else text
    return QUESTIONS[template].format(text=text, lower=text.lower())


def template_for(expression: Expression, image: bool = False) -> str:
    """The template of the script that the released code runs on an expression of this kind, of a video or an image."""
    if image:
        if expression.kind == "referring":
            return "image-referring"
        return "image-sentence" if expression.is_sentence else "image-phrase"
    if expression.kind == "referring":
        return "referring"
    return "reasonvos-sentence" if expression.is_sentence else "reasonvos-phrase"


def conversation(question: str, answer: str | None = ANSWER) -> str:
    """System text, the video, a question and its answer in Phi-3's chat form; up to the answer where that is None."""
    asked = f"<|system|>\n{SYSTEM}<|end|>\n<|user|>\n{VIDEO}\n{question}<|end|>\n<|assistant|>\n"
    return asked if answer is None else f"{asked}{answer}<|end|>"
