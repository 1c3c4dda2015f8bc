"""Videos, expressions, masklets; one loader module per dataset."""

if __name__ == "datasets":
    # Python ran from the repository root and somebody asked for Hugging Face's package of the same name,
    # which this folder shadows. Find the real one on the rest of sys.path and hand the name over to it.
    import importlib.machinery
    import importlib.util
    import os
    import sys

    _here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    _rest = [p for p in sys.path if os.path.realpath(p or os.curdir) != os.path.realpath(_here)]
    _spec = importlib.machinery.PathFinder.find_spec("datasets", _rest)
    if _spec is None or _spec.loader is None:
        raise ModuleNotFoundError(
            "No module named 'datasets': Hugging Face's package is not installed (pip install 'rvos[hub]'); "
            f"the folder {os.path.join(_here, 'datasets')} is rvos.datasets and is imported by that name.",
            name="datasets",
        )
    _module = importlib.util.module_from_spec(_spec)
    sys.modules["datasets"] = _module
    _spec.loader.exec_module(_module)
