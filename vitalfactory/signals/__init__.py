"""Recordings: files to arrays, beats, epochs and features. Nothing here knows of language models."""
