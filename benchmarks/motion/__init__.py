"""Motion correction beside its peers: movies with known truth, programs in processes of their own, their errors."""
