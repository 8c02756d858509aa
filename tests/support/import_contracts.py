"""The contract over the floors: import-linter is exhaustive within one package only."""

from pathlib import Path

import grimp
from importlinter import ContractCheck, fields
from importlinter.contracts.layers import LayersContract


class FloorsContract(LayersContract):
    """A layers contract that breaks while a folder of modules is no layer, nor in `beside`."""

    type_name = "floors"
    beside = fields.SetField(subfield=fields.StringField())

    def check(self, graph: grimp.ImportGraph, verbose: bool) -> ContractCheck:
        check = super().check(graph, verbose)
        folders = {path.parent.name for path in Path().glob("[!.]*/*.py")}
        layers = {tail.name for layer in self.layers for tail in layer.module_tails}  # type: ignore[attr-defined]
        undeclared = folders - layers - self.beside  # type: ignore[operator]
        check.metadata["undeclared_modules"] = undeclared
        check.kept = check.kept and not undeclared
        return check
