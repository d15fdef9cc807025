"""Entry point of `python -m fer_edge`, as in `torchrun --nproc-per-node 2 -m fer_edge train ...`."""

from fer_edge.cli.entry import main

if __name__ == "__main__":
    main()
