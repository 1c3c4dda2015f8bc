"""Statistics, tables and plots of runs."""
