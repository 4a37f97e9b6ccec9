"""The only doors for files that visitors bring: pictures, and clips that a child process decodes."""
