"""The floors: one module for each store, and the job that is the same on all of them."""
