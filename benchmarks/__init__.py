"""Metrics, protocols, prediction files, evaluator, predict engine, run folders."""
