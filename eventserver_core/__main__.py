"""``python -m eventserver_core``: the same as ``eventserver``."""

from eventserver_core.cli import main

if __name__ == "__main__":
    main()
