"""Prediction files: readers for every layout that the public inference scripts write, one writer, a diagnosis."""
