"""Trivial, text-blind and oracle predictors, and reference baselines."""
