"""`pathcast demo`: a real camera video in; tracks, predicted paths and their measured error out."""
