"""Prediction files: readers for every layout that the public inference scripts write, one writer, a diagnosis."""

from .base import ExpressionPredictions, Foreground, MergedPredictions
from .detect import LAYOUTS, open_predictions
from .diagnosis import Finding, diagnose
from .memory import MemoryPredictions
from .merged import MergedFolders, MergedFromExpressions, MergeRule, annotator_samples, as_expressions, as_merged
from .run_masks import RunMasks, video_masks_path, videos_with_masks, write_video_masks
from .writer import ExportReport, PredictionWriter, export_labels, export_masks

__all__ = [
    "LAYOUTS",
    "ExportReport",
    "ExpressionPredictions",
    "Finding",
    "Foreground",
    "MemoryPredictions",
    "MergeRule",
    "MergedFolders",
    "MergedFromExpressions",
    "MergedPredictions",
    "PredictionWriter",
    "RunMasks",
    "annotator_samples",
    "as_expressions",
    "as_merged",
    "diagnose",
    "export_labels",
    "export_masks",
    "open_predictions",
    "video_masks_path",
    "videos_with_masks",
    "write_video_masks",
]
