"""Class-indexed stores of examples; one file per source."""
