"""The build hook that compiles the data path with mypyc. Off unless asked for: HATCH_BUILD_HOOK_ENABLE_CUSTOM=1.

What is compiled, and how, is said in pyproject.toml (`tool.hatch.build.targets.wheel.hooks.custom`). The sources are
copied away first, so that nothing compiled is ever left beside them; in the wheel every module keeps its source, and
Python takes what is compiled where both are.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_SETUP = """\
from setuptools import setup
from mypyc.build import mypycify

setup(name="balancer", py_modules=[], ext_modules=mypycify({arguments!r}, group_name="balancer", {options}))
"""
NO_COMPILER = "no C compiler ({name}): install one (Debian, Ubuntu: apt-get install gcc libc6-dev)"
NO_HEADERS = "no Python.h in {folder}: install Python's headers (Debian, Ubuntu: apt-get install python3-dev)"


class CustomBuildHook(BuildHookInterface[Any]):
    """Puts compiled modules into the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile the modules of the list, and have the wheel take them; ends the build if that cannot be done."""
        if self.target_name != "wheel" or version != "standard":
            return
        lacking = what_is_lacking()
        if lacking:
            self.app.abort(lacking)
        self.made = Path(mkdtemp(prefix="balancer-build-"))
        modules = self.config["modules"]
        arguments = ["--config-file", str(Path(self.root, "pyproject.toml")), "--no-warn-unused-ignores", *modules]
        options = ", ".join(f"{name}={value!r}" for name, value in self.config.get("options", {}).items())
        shutil.copytree(Path(self.root, "balancer"), self.made / "balancer")
        (self.made / "setup.py").write_text(_SETUP.format(arguments=arguments, options=options))
        command = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]
        built = subprocess.run(command, cwd=self.made, capture_output=True, text=True)
        if built.returncode:
            self.app.abort(f"mypyc failed:\n{built.stdout}{built.stderr}")
        for path in [*self.made.glob("*.so"), *self.made.glob("balancer/**/*.so")]:
            build_data["force_include"][str(path)] = str(path.relative_to(self.made))
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was made on the way."""
        if hasattr(self, "made"):
            shutil.rmtree(self.made, ignore_errors=True)


def what_is_lacking() -> str:
    """Return what has to be installed before anything can be compiled, "" if nothing."""
    compiler = str(sysconfig.get_config_var("CC") or "cc").split()[0]
    headers = Path(sysconfig.get_path("include"))
    if shutil.which(compiler) is None:
        return NO_COMPILER.format(name=compiler)
    if not (headers / "Python.h").is_file():
        return NO_HEADERS.format(folder=headers)
    return ""
