import sys

try:
    from explore.cli import main  # the package explore/ takes precedence over this file
except ModuleNotFoundError as error:
    sys.exit(f"error: {error} for {sys.executable}; use .venv/bin/python, or install edgepose: pip install -e .")

if __name__ == "__main__":
    raise SystemExit(main())
