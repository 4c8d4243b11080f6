"""The rules of the house, measured on the source.

    python tools/house.py

Reads the source as a syntax tree, runs nothing, and prints each place that breaks a rule as
``path:line: sentence``. The tests of the house call the same functions, and plant one fault for
each rule to see it found. What ruff and import-linter check is left to them.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODULE_LINES = 300
FUNCTION_LINES = 50
COMMAND_LINES = 15
PARAMETERS = 6
DEPTH = 2
CATCH_ALL = {"common", "helper", "helpers", "misc", "util", "utils"}
UNSAFE_MODULES = {
    "cloudpickle", "cPickle", "dill", "joblib", "marshal", "pickle", "shelve"
}  # fmt: skip
UNSAFE_CALLS = {"eval", "exec", "compile", "__import__"}
UNSAFE_MEMBERS = {("torch", "load"), ("yaml", "load"), ("yaml", "unsafe_load")}
# Bases outside the tree whose children need not be final: they are not classes in use.
OPEN_BASES = {"Enum", "Exception", "IntEnum", "NamedTuple", "Protocol", "StrEnum", "TypedDict"}

Function = ast.FunctionDef | ast.AsyncFunctionDef
Trees = dict[Path, ast.Module]


def trees(root: Path) -> Trees:
    """Parse every Python file below a folder."""
    return {
        path: ast.parse(path.read_text(encoding="utf-8"), str(path))
        for path in sorted(root.rglob("*.py"))
    }


def code_lines(path: Path, tree: ast.Module) -> set[int]:
    """Line numbers that hold code: no blanks, comments or docstrings."""
    lines: set[int] = set()
    skip = {
        tokenize.COMMENT, tokenize.DEDENT, tokenize.ENCODING, tokenize.ENDMARKER,
        tokenize.INDENT, tokenize.NEWLINE, tokenize.NL,
    }  # fmt: skip
    for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
        if token.type not in skip:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | Function) and _docstring(node):
            text = node.body[0]
            lines.difference_update(range(text.lineno, (text.end_lineno or text.lineno) + 1))
    return lines


def sizes(found: Trees) -> Iterator[str]:
    """Modules, functions and parameter lists that grew too long."""
    for path, tree in found.items():
        lines = code_lines(path, tree)
        if len(lines) > MODULE_LINES:
            yield f"{path}:1: {len(lines)} code lines, more than {MODULE_LINES}"
        for node in ast.walk(tree):
            if not isinstance(node, Function):
                continue
            command = _is_command(node)
            first = node.body[0].lineno if command else node.lineno
            length = len(lines & set(range(first, (node.end_lineno or first) + 1)))
            limit = COMMAND_LINES if command else FUNCTION_LINES
            if length > limit:
                yield f"{path}:{node.lineno}: {node.name} has {length} code lines, over {limit}"
            count = len(_parameters(node))
            if count > PARAMETERS and not command:  # a command's parameters are its options
                yield f"{path}:{node.lineno}: {node.name} has {count} parameters, over {PARAMETERS}"


def docstrings(found: Trees) -> Iterator[str]:
    """Public modules, classes, functions and new methods without a docstring."""
    names = _class_table(found)
    for path, tree in found.items():
        if not _docstring(tree):
            yield f"{path}:1: the module has no docstring"
        for node in tree.body:
            if not isinstance(node, ast.ClassDef | Function) or _private(node.name):
                continue
            if not _docstring(node):
                yield f"{path}:{node.lineno}: {node.name} has no docstring"
            known = _inherited(node, names) if isinstance(node, ast.ClassDef) else set()
            for part in node.body if isinstance(node, ast.ClassDef) else []:
                if not isinstance(part, Function) or _private(part.name) or part.name in known:
                    continue
                if _decorated(part, {"overload", "setter"}):
                    continue  # what the parent says of a method holds for its children
                if not _docstring(part):
                    yield f"{path}:{part.lineno}: {node.name}.{part.name} has no docstring"


def references(found: Trees) -> Iterator[str]:
    """References that begin with a dot: they mean whatever module ends like that, one day two."""
    for path, tree in found.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | Function):
                for name in re.findall(r":[a-z]+:`(\.[\w.]+)`", _docstring(node) or ""):
                    line = getattr(node, "lineno", 1)
                    yield f"{path}:{line}: reference to {name}; write its full name"


def exports(found: Trees) -> Iterator[str]:
    """Modules whose ``__all__`` is missing, or misses a public name, or names nothing."""
    for path, tree in found.items():
        defined = {
            node.name: node.lineno
            for node in tree.body
            if isinstance(node, ast.ClassDef | Function)
        }
        public = {
            name: line for name, line in defined.items()
            if not _private(name) and not _is_command(_named(tree, name))
        }  # fmt: skip
        listed = _all(tree)
        if listed is None:
            if public:
                yield f"{path}:1: no __all__"
            continue
        for name, line in public.items():
            if name not in listed:
                yield f"{path}:{line}: {name} is public but not in __all__"
        for name in sorted(listed - set(defined) - _bound(tree)):
            if path.name != "__init__.py":  # a package may load its names lazily
                yield f"{path}:1: __all__ names {name}, which is not there"


def classes(found: Trees) -> Iterator[str]:
    """Public classes neither abstract nor final, and chains of inheritance that are too deep."""
    table = {
        (path, node.name): node
        for path, tree in found.items()
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    }
    names = _class_table(found)
    parents = {base for node in table.values() for base in _bases(node)}
    for (path, name), node in table.items():
        depth = _depth(node, names)
        if depth > DEPTH:
            yield f"{path}:{node.lineno}: {name} is {depth} classes deep, more than {DEPTH}"
        is_open = name.startswith("Abstract") or _ancestors(node, names) & OPEN_BASES
        if not is_open and not _private(name) and not _decorated(node, {"final"}):
            yield f"{path}:{node.lineno}: {name} is neither final nor abstract"
        if name in parents and _decorated(node, {"final"}):
            yield f"{path}:{node.lineno}: {name} is final and has children"


def habits(found: Trees) -> Iterator[str]:
    """Habits the house does without: hasattr, forwarded ``**kwargs``, catch-all modules ..."""
    for path, tree in found.items():
        if path.stem in CATCH_ALL:
            yield f"{path}:1: a module named {path.stem} collects anything; say what it holds"
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and _called(node) == "hasattr":
                yield f"{path}:{node.lineno}: hasattr; use a protocol or isinstance"
            if isinstance(node, ast.ImportFrom) and node.module == "__future__":
                yield f"{path}:{node.lineno}: from __future__ import hides annotations"
            if isinstance(node, Function) and node.args.kwarg:
                name = node.args.kwarg.arg
                for call in (n for n in ast.walk(node) if isinstance(n, ast.Call)):
                    if any(_is_name(k.value, name) for k in call.keywords if k.arg is None):
                        yield f"{path}:{call.lineno}: {node.name} forwards **{name}"


def unsafe(found: Trees) -> Iterator[str]:
    """Ways to run code that came with data."""
    for path, tree in found.items():
        for node in ast.walk(tree):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                own = node.module or "" if isinstance(node, ast.ImportFrom) else ""
                names = [alias.name for alias in node.names]
                for name in {own, *names} if own else set(names):
                    if name.partition(".")[0] in UNSAFE_MODULES:
                        yield f"{path}:{node.lineno}: imports {name}"
                for name in names:
                    if (own, name) in UNSAFE_MEMBERS:
                        yield f"{path}:{node.lineno}: imports {own}.{name}"
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                if (node.value.id, node.attr) in UNSAFE_MEMBERS:
                    yield f"{path}:{node.lineno}: uses {node.value.id}.{node.attr}"
            elif isinstance(node, ast.Call):
                if _called(node) in UNSAFE_CALLS:
                    yield f"{path}:{node.lineno}: calls {_called(node)}"
                if any(k.arg == "allow_pickle" and not _is_false(k.value) for k in node.keywords):
                    yield f"{path}:{node.lineno}: passes allow_pickle"


def main_guards(found: Trees) -> Iterator[str]:
    """Scripts that would run when merely imported; a module of a package is no script."""
    for path, tree in found.items():
        if (path.parent / "__init__.py").exists():
            continue
        guards = [n for n in tree.body if isinstance(n, ast.If) and "__name__" in ast.dump(n.test)]
        if not guards:
            yield f"{path}:1: no main guard"


def _docstring(node: ast.Module | ast.ClassDef | Function) -> str | None:
    return ast.get_docstring(node, clean=False)


def _private(name: str) -> bool:
    return name.startswith("_")


def _parameters(node: Function) -> list[str]:
    args = node.args
    names = [arg.arg for arg in (*args.posonlyargs, *args.args, *args.kwonlyargs)]
    return names[1:] if names[:1] in (["self"], ["cls"]) else names


def _decorated(node: ast.ClassDef | Function, names: set[str]) -> bool:
    marks = [d.func if isinstance(d, ast.Call) else d for d in node.decorator_list]
    return any(
        (m.attr if isinstance(m, ast.Attribute) else getattr(m, "id", "")) in names for m in marks
    )


def _is_command(node: ast.AST | None) -> bool:
    return isinstance(node, Function) and _decorated(node, {"command", "callback"})


def _named(tree: ast.Module, name: str) -> ast.AST | None:
    return next((node for node in tree.body if getattr(node, "name", "") == name), None)


def _all(tree: ast.Module) -> set[str] | None:
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(_is_name(t, "__all__") for t in node.targets):
            items = node.value.elts if isinstance(node.value, (ast.List, ast.Tuple)) else []
            return {item.value for item in items if isinstance(item, ast.Constant)}
    return None


def _bound(tree: ast.Module) -> set[str]:
    bound: set[str] = set()
    for node in tree.body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            bound.update(alias.asname or alias.name for alias in node.names)
        for part in ast.walk(node) if isinstance(node, (ast.Assign, ast.AnnAssign)) else []:
            if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                bound.add(part.id)
    return bound


def _bases(node: ast.ClassDef) -> list[str]:
    plain = [base.value if isinstance(base, ast.Subscript) else base for base in node.bases]
    return [b.attr if isinstance(b, ast.Attribute) else getattr(b, "id", "") for b in plain]


def _class_table(found: Trees) -> dict[str, list[ast.ClassDef]]:
    names: dict[str, list[ast.ClassDef]] = {}
    for node in (node for tree in found.values() for node in tree.body):
        if isinstance(node, ast.ClassDef):
            names.setdefault(node.name, []).append(node)
    return names


def _inherited(node: ast.ClassDef, names: dict[str, list[ast.ClassDef]]) -> set[str]:
    above = [parent for name in _ancestors(node, names) for parent in names.get(name, [])]
    parts = [part for parent in above for part in parent.body]
    return {part.name for part in parts if isinstance(part, Function) and _docstring(part)}


def _depth(node: ast.ClassDef, names: dict[str, list[ast.ClassDef]]) -> int:
    above = [_depth(p, names) for b in _bases(node) for p in names.get(b, []) if p is not node]
    return 1 + max(above, default=0)


def _ancestors(node: ast.ClassDef, names: dict[str, list[ast.ClassDef]]) -> set[str]:
    found = set(_bases(node))
    for base in _bases(node):
        for parent in names.get(base, []):
            if parent is not node:
                found |= _ancestors(parent, names)
    return found


def _called(node: ast.Call) -> str:
    return node.func.id if isinstance(node.func, ast.Name) else ""


def _is_name(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


RULES = (sizes, docstrings, references, exports, classes, habits)


def offenders(root: Path = ROOT) -> list[str]:
    """Every broken rule in the project: the package under all rules, the rest under safety."""
    package = trees(root / "src")
    found = [sentence for rule in RULES for sentence in rule(package)]
    for folder in ("src", "tools", "benchmarks", "examples", "tests"):
        found += unsafe(trees(root / folder))
    for folder in ("benchmarks", "tools"):
        found += main_guards(trees(root / folder))
    return [sentence.replace(f"{root}/", "") for sentence in found]


def main() -> None:
    """Print the offenders; end with 1 where there are any."""
    found = offenders()
    print("\n".join(found) or "The house is in order.")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
