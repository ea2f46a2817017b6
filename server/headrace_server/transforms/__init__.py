"""Transforms: what a plan names, made into steps that run on pixels.

`pipeline` compiles a plan's transforms, `geometry` and `color` hold the built-in ones, `custom` the operator's, and
`output` writes the result into the batch.
"""
