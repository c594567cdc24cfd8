from explore.cli import main  # the package explore/ takes precedence over this file

if __name__ == "__main__":
    raise SystemExit(main())
