"""Benchmarks and datasets for language-instructed video object segmentation."""

__version__ = "0.1.0"
