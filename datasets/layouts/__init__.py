"""Writing the on-disk layouts of the four benchmarks: ``files`` makes the files, ``content`` says what a layout can be
filled with, ``writers`` has one function a layout."""
