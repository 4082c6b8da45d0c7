"""A pytest plug-in for simulations of sagas: see ``plugin``."""
