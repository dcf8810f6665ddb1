"""Latent variables: autoencoders, variational autoencoders, discrete latents, flows and their kin.

The convention of this package: a log-likelihood and a KL divergence are sums over pixels and over
latents, one value a row [B], in nats; a loss is their mean over the batch; `log_var` is the
logarithm of a variance; digits are binarised, a pixel being 1 where its ink is at least 8 of 16.
"""
