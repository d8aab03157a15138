"""`python -m spmn` is `spmn`."""

from spmn.cli import main

if __name__ == "__main__":
    main()
