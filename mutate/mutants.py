"""Mutants: single changes of a module, made by mutmut's mutators or named in the plan."""

import ast
import difflib
import hashlib
import random
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import libcst as cst
import libcst.matchers as m
from mutmut.mutation.mutators import mutation_operators, operator_string

_LOG_CALL = m.Call(func=m.Attribute(value=m.Name("logger")))
_LOGGER = m.Assign(targets=[m.AssignTarget(target=m.Name("logger"))])
_ALWAYS_AN_ERROR = m.Call(func=m.Name("isinstance") | m.Name("len"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A module with one change. `line`: the first changed line; `name`: of a named change."""

    path: str
    line: int
    source: str
    diff: str
    name: str = ""

    @property
    def key(self) -> str:
        return hashlib.sha256(f"{self.path}\0{self.source}".encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Plan:
    """`own`: the modules to change and their own tests; `named`: changes made in every run."""

    own: Mapping[str, list[str]]
    named: list[dict[str, str]]

    @classmethod
    def read(cls, path: Path) -> "Plan":
        plan = tomllib.loads(path.read_text())
        return cls(plan["own"], plan["named"])

    @property
    def test_files(self) -> list[str]:
        return sorted({file for files in self.own.values() for file in files})


class FragmentNotFound(Exception):
    """A named change no longer fits the source. Update the plan."""


def named_mutants(root: Path, plan: Plan) -> list[Mutant]:
    """Return the mutants that the plan names. Raises FragmentNotFound."""
    found = []
    for entry in plan.named:
        before = (root / entry["path"]).read_text()
        if (count := before.count(entry["find"])) != 1:
            raise FragmentNotFound(
                f"{entry['path']} has the fragment {entry['find']!r} {count} times instead of "
                f"once. Change the entry “{entry['name']}” in mutate/plan.toml."
            )
        after = before.replace(entry["find"], entry["replace"])
        mutant = _mutant(entry["path"], before, after, entry["name"])
        assert mutant, f"the change “{entry['name']}” changes nothing"
        found.append(mutant)
    return found


def sample(root: Path, plan: Plan, *, size: int, seed: int) -> list[Mutant]:
    """Return the named mutants and random others, `size` in all; the seed determines them."""
    chosen = {mutant.key: mutant for mutant in named_mutants(root, plan)}
    changes = [
        (path, module, old, new)
        for path in sorted(plan.own)
        for module in [cst.parse_module((root / path).read_text())]
        for old, new in _changes(module)
    ]
    random.Random(seed).shuffle(changes)
    for path, module, old, new in changes:
        if len(chosen) >= size:
            break
        changed = module.deep_replace(old, new)
        assert isinstance(changed, cst.Module)
        if mutant := _mutant(path, module.code, changed.code):
            chosen.setdefault(mutant.key, mutant)
    return list(chosen.values())


def statement_lines(source: str, line: int) -> range | None:
    """Return the lines of the statement at a line; None if it runs at the import of the module."""
    innermost: ast.stmt | None = None
    is_within_function = False
    nodes: list[tuple[ast.AST, bool]] = [(ast.parse(source), False)]
    while nodes:
        node, within = nodes.pop()
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case):
                continue
            lines = range(getattr(child, "lineno", 0), (getattr(child, "end_lineno", 0) or 0) + 1)
            if isinstance(child, ast.stmt) and line in lines:
                innermost, is_within_function = child, within
            is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            nodes.append((child, within or is_function))
    if innermost is None or not is_within_function:
        return None
    body = getattr(innermost, "body", None)
    end = body[0].lineno if body and line < body[0].lineno else (innermost.end_lineno or line) + 1
    return range(innermost.lineno, end)


def _mutant(path: str, before: str, after: str, name: str = "") -> Mutant | None:
    """Return the mutant; None if the changed source is not valid Python or has the same AST."""
    try:
        if ast.dump(ast.parse(after)) == ast.dump(ast.parse(before)):
            return None
        compile(after, path, "exec", dont_inherit=True)
    except SyntaxError:
        return None
    old, new = before.splitlines(), after.splitlines()
    line = next(
        (n for n, (a, b) in enumerate(zip(old, new, strict=False), 1) if a != b),
        min(len(old), len(new)),
    )
    diff = "\n".join(list(difflib.unified_diff(old, new, lineterm="", n=1))[2:])
    return Mutant(path=path, line=line, source=after, diff=diff, name=name)


def _changes(module: cst.Module) -> Iterator[tuple[cst.CSTNode, cst.CSTNode]]:
    """Yield each node that can be changed with its replacement."""
    visitor = _Visitor()
    module.visit(visitor)
    yield from visitor.changes


class _Visitor(cst.CSTVisitor):
    """Collects changes, except of nodes whose change no test can notice."""

    def __init__(self) -> None:
        super().__init__()
        self.changes: list[tuple[cst.CSTNode, cst.CSTNode]] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        # Annotations and asserts are for mypy. The decorators here only configure how dataclasses
        # are stored.
        if isinstance(node, cst.Annotation | cst.Assert | cst.Decorator):
            return False
        # The name of the logger.
        if m.matches(node, _LOGGER):
            return False
        # The text of a log line. The ids in its `extra` are changed.
        if m.matches(node, _LOG_CALL):
            assert isinstance(node, cst.Call)
            for arg in node.args:
                if arg.keyword:
                    arg.value.visit(self)
            return False
        # A call that lacks an argument always raises, so that any test would notice.
        if not m.matches(node, _ALWAYS_AN_ERROR):
            self.changes += ((node, new) for new in _mutations(node))
        return True


def _mutations(node: cst.CSTNode) -> Iterable[cst.CSTNode]:
    for kind, operator in mutation_operators:
        if not isinstance(node, kind):
            continue
        if operator is not operator_string:
            yield from operator(node)
        # A sentence (with a space) means the same in capitals, so it is not changed. A name or a
        # code is changed once: a test that notices one change notices the others.
        elif isinstance(node, cst.SimpleString) and " " not in node.value:
            yield from list(operator(node))[:1]
