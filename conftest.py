pytest_plugins = ["verification.plugin"]
