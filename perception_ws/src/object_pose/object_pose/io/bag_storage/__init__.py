"""The files of recordings, a module for each storage, as channels and raw messages."""
