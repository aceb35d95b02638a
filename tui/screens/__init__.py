"""The screens, one module each; `registry` says which there are."""
