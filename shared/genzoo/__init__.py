"""genzoo: small generative models of your own data, trained and sampled with one set of verbs."""
