"""Makes the helpers that lie beside this file (``toyset``) importable from every test."""
