"""Using a trained translator: sentences in, sentences out; scores over whole test sets."""
