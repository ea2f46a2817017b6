"""Frameworks: one module for each, which imports it when it is first used."""
