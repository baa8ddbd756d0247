"""Training many Keras models of one program together, on the JAX backend."""
