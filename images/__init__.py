"""The images of vmferry: the Containerfile, and the program that makes a release."""
