"""The `pathcast` command; heavy imports happen inside the commands that need them."""
