"""Writing the on-disk layouts of the benchmarks: ``files`` makes the files, ``content`` says what a layout can be
filled with, ``job`` counts what becomes of it, ``writers`` has one function a layout."""
