from explore.cli import main  # the folder explore/ wins over this file of the same name

if __name__ == "__main__":
    raise SystemExit(main())
