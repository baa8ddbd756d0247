"""Lists long functions and long files under src/: places to look, never a failure."""

import ast
from pathlib import Path

FUNCTION_LINES = 60
FILE_LINES = 400
ROOT = Path(__file__).resolve().parent.parent


def long_functions(tree):
    """Yield (line, name, length) of each long function; its docstring counts."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES:
                yield node.lineno, node.name, length


def main():
    """Print one line for each place, or one line that says there is none."""
    places = []
    for path in sorted((ROOT / "src").rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        name = path.relative_to(ROOT).as_posix()
        if (lines := len(source.splitlines())) > FILE_LINES:
            places.append(f"  {name}: {lines} lines")
        try:
            functions = list(long_functions(ast.parse(source)))
        except SyntaxError as error:
            places.append(f"  {name}:{error.lineno}: not read, {error.msg}")
            continue
        places += [f"  {name}:{line}: {what}, {length} lines" for line, what, length in functions]
    if places:
        limits = f"functions over {FUNCTION_LINES} lines, files over {FILE_LINES}"
        print(f"Places to look ({limits}):", *places, sep="\n")
    else:
        print(f"No function over {FUNCTION_LINES} lines, no file over {FILE_LINES}.")


if __name__ == "__main__":
    main()
