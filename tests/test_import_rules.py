"""The shape of the package and of the tests: imports, SQL, settings, private names."""

import ast
import re
import subprocess
import sys

import pytest
from support.project import PACKAGE, TESTS

# A folder or module imports from rows above its own, and within its own folder. A new one needs a
# place in a row.
ROWS = [
    "clock errors logs config_values data_folder regular_files",
    "disk_space patience",
    "config",
    "protocol server",
    "media",
    "intake",
    "storage",
    "db",
    "catalog",
    "leases database_health daily_totals",
    "rate_limits",
    "auth",
    "accounts",
    "blobs records",
    "object_api",
    "thumbnails maintenance mirror",
    "embedding purges",
    "metrics",
    # Flask begins here.
    "services",
    "api",
    "cli",
    "console",
    "app",
    "wsgi gunicorn_conf __main__",
]
FLASK_BEGINS = ROWS.index("services")

HOMES = {
    "PIL": "thumbnails",
    "argon2": "auth.passwords",
    "boto3": "storage",
    "botocore": "storage",
    "click": "cli __main__",
    "cryptography": "auth",
    "filetype": "media.signatures",
    "flask": "app services api cli console __main__",
    "gunicorn": "server.worker server.gunicorn_log",
    "jinja2": "console.frame",
    "jwt": "auth",
    "libipld": "protocol.dag_cbor",
    "pillow_heif": "thumbnails.derive",
    "prometheus_client": "metrics.exposition",
    "psycopg": "db.postgresql",
    "websockets": "mirror.stream",
    "werkzeug": "app api console",
}

SOURCES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path != PACKAGE / "__init__.py"
}
TREES = {module: ast.parse(path.read_text()) for module, path in SOURCES.items()}


def place(module):
    """The longest name in ROWS that covers *module*, or None."""
    names = [name for row in ROWS for name in row.split() if covers(name, module)]
    return max(names, key=len, default=None)


def row_of(module):
    rows = [row for row, names in enumerate(ROWS) if place(module) in names.split()]
    return rows[0] if rows else FLASK_BEGINS - 1


def covers(name, module):
    return f"{module}.".startswith(f"{name}.")


def imported(tree):
    """The full names that *tree* imports at run time."""
    typing_only = {
        id(statement)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for statement in node.body
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports(tree):
    for name in imported(tree):
        if name.startswith("aurora_blobs.") and name != "aurora_blobs.__version__":
            yield name.removeprefix("aurora_blobs.")


def third_parties(tree):
    return (
        {name.partition(".")[0] for name in imported(tree)}
        - set(sys.stdlib_module_names)
        - {"aurora_blobs"}
    )


def texts(tree):
    """The string literals in *tree* without docstrings; of f-strings the literal parts."""
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in documentation
        ):
            yield node.value


@pytest.mark.parametrize("module", SOURCES)
def test_a_module_has_its_place(module):
    assert place(module) is not None, f"{module} needs a place in ROWS"


@pytest.mark.parametrize("module", SOURCES)
def test_a_module_imports_from_rows_above_or_from_its_own_package(module):
    package = module.partition(".")[0]

    wrong = [
        name
        for name in own_imports(TREES[module])
        if row_of(name) >= row_of(module) and not covers(package, name)
    ]

    assert wrong == []


@pytest.mark.parametrize("module", SOURCES)
def test_a_third_party_is_imported_at_its_home_alone(module):
    strangers = [
        name
        for name in third_parties(TREES[module])
        if not any(covers(home, module) for home in HOMES.get(name, "").split())
    ]

    assert strangers == []


def test_flask_is_at_the_rim_alone():
    inside = [module for module in SOURCES if row_of(module) < FLASK_BEGINS]

    assert [
        module for module in inside if {"flask", "werkzeug"} & third_parties(TREES[module])
    ] == []


@pytest.mark.parametrize(
    "package",
    [
        *("boto3", "botocore", "PIL", "prometheus_client", "psycopg", "websockets"),
        "aurora_blobs.console.frame",
    ],
)
def test_slow_imports_wait_until_they_are_needed(package):
    program = f"import sys, aurora_blobs.app; assert {package!r} not in sys.modules"

    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


STATEMENT = re.compile(
    r"\s*(SELECT|INSERT INTO|UPDATE|DELETE FROM|CREATE|DROP|ALTER|WITH|PRAGMA|BEGIN|COMMIT) "
)


WITHOUT_SQL = [module for module in SOURCES if module.partition(".")[0] not in ("db", "catalog")]


@pytest.mark.parametrize("module", WITHOUT_SQL)
def test_statements_are_in_the_catalog_alone(module):
    assert [text for text in texts(TREES[module]) if STATEMENT.match(text)] == []


@pytest.mark.parametrize("module", [module for module in SOURCES if covers("catalog", module)])
def test_no_statement_is_put_together(module):
    formatted = [node for node in ast.walk(TREES[module]) if isinstance(node, ast.JoinedStr)]

    assert [text for node in formatted for text in texts(node) if STATEMENT.match(text)] == []


@pytest.mark.parametrize("module", [module for module in SOURCES if module != "config"])
def test_the_environment_is_read_by_the_configuration_alone(module):
    attributes = {node.attr for node in ast.walk(TREES[module]) if isinstance(node, ast.Attribute)}

    assert attributes & {"environ", "getenv"} <= allowed_environ(module)


def allowed_environ(module):
    # Flask's request.environ is the WSGI environment.
    return {"environ"} if row_of(module) >= FLASK_BEGINS else set()


# Two read from a client, where each WSGI server raises its own kind. The worker ends with what it
# has caught.
CATCHING_ALL = ("intake.body", "server.bodies", "server.worker")


@pytest.mark.parametrize("module", [module for module in SOURCES if module not in CATCHING_ALL])
def test_not_every_exception_is_caught(module):
    caught = [ast.unparse(node.type or ast.Name("everything")) for node in handlers(TREES[module])]

    assert [name for name in caught if name in ("everything", "Exception")] == []


def handlers(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler)]


@pytest.mark.parametrize("module", SOURCES)
def test_a_module_says_first_what_it_is_for(module):
    first, _, rest = (ast.get_docstring(TREES[module]) or "").partition("\n")

    assert first.endswith((".", ":"))
    assert rest[:1] in ("", "\n")


TEST_TREES = {
    str(path.relative_to(TESTS)): ast.parse(path.read_text())
    for path in sorted(TESTS.rglob("*.py"))
}


@pytest.mark.parametrize("file", TEST_TREES)
def test_nothing_is_mocked(file):
    assert [name for name in imported(TEST_TREES[file]) if "mock" in name] == []


@pytest.mark.parametrize("file", TEST_TREES)
def test_no_test_patches_or_calls_a_private_name(file):
    assert [name for name in foreign_names(TEST_TREES[file]) if is_private(name)] == []


def foreign_names(tree):
    """The names that *tree* imports, reads, patches or overrides."""
    package = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("aurora_blobs")
        for alias in node.names
    }
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(names=names):
                yield from (alias.name for alias in names)
            case ast.Attribute(value=ast.Name(id="self" | "cls" | "os")):
                pass
            case ast.Attribute(attr=name):
                yield name
            case ast.Call(func=ast.Attribute(attr="setattr"), args=arguments):
                yield from (
                    argument.value.rpartition(".")[2]
                    for argument in arguments
                    if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
                )
            case ast.ClassDef(bases=bases, body=body):
                if package & {ast.unparse(base) for base in bases}:
                    yield from (part.name for part in body if isinstance(part, ast.FunctionDef))


def is_private(name):
    return name.startswith("_") and not name.startswith("__")
