"""The annotation workbench: people bind sentences to objects in video, blind people check them, and the result is a
dataset. ``native`` is its format; ``importing``, ``exporting`` and ``merging`` lead in, out and together; ``quality``,
``agreement`` and ``contribution`` say how good it is."""
