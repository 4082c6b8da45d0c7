"""A pytest plug-in for simulations of sagas, which pytest finds by itself: see ``plugin``."""
