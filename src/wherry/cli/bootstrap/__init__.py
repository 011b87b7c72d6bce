"""Base images from a distribution's packages: ``wherry image bootstrap``."""
