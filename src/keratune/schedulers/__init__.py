"""Schedulers: which trial gets how many epochs, one file each."""
