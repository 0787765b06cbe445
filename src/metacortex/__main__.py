"""``python -m metacortex``: the command."""

from metacortex.cli.main import run

if __name__ == "__main__":
    run()
