//! Build tools and package managers, in a checkout and over a promoted cache of one. Nothing is
//! fetched: packages are made on the spot.

use crate::common::User;
use crate::common::repository::Repository;

use super::{Space, digest, directory};

/// Makes a taskspace's cache the project's, and returns where it is and its digest.
fn promote(space: &Space<'_>) -> (String, String) {
    space.user.run(&["cache", "promote", space.id]);
    let project = &space.user.json(&["projects"])[0];
    let cache = directory(project["caches"][0]["volume"].as_str().unwrap());
    let digest = digest(&cache);
    (cache, digest)
}

fn workspace(user: &User) -> Repository {
    let repository = Repository::new(user, "app");
    let member = "[package]\nname = \"inner\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\
                  description = \"x\"\nlicense = \"MIT\"\n";
    repository.commit("inner/Cargo.toml", member);
    repository.commit("inner/src/lib.rs", "pub fn text() -> &'static str { \"one\" }\n");
    repository.commit(
        "Cargo.toml",
        "[package]\nname = \"outer\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n\
         [workspace]\nmembers = [\"inner\"]\n\n[dependencies]\ninner = { path = \"inner\" }\n\
         far = { git = \"file:///home/developer/far\" }\n",
    );
    // Of the standard library's rename, an agent learns the same as of rename(2).
    let main = "fn main() {\n    let renamed = std::fs::rename(\"data\", \"data-2\");\n    \
                println!(\"{} {} {:?}\", inner::text(), far::text(), renamed.map_err(|e| e.kind()));\n}\n";
    repository.commit("src/main.rs", main);
    repository.commit("data/in", "x\n");
    repository
}

#[test]
fn cargo_builds_and_builds_again() {
    const FAR: &str = "mkdir ~/far && cd ~/far && git init -q && cargo init -q --lib --name far . && \
        echo 'pub fn text() -> u8 { 7 }' > src/lib.rs && git add --all && \
        git -c user.name=x -c user.email=x@example.org commit -qm far && cd /workspace && ";
    let user = User::new();
    let repository = workspace(&user);
    let space = Space::new(&user, &repository, "rust", "o-cargo");
    let run = "cargo run --quiet --offline";
    assert_eq!(
        space.dev(&format!("{FAR} cargo fetch --quiet && {run}")),
        "one 7 Err(CrossesDevices)\n"
    );
    assert_eq!(
        space.dev(&format!("sed -i s/one/two/ inner/src/lib.rs && {run}")),
        "two 7 Err(CrossesDevices)\n"
    );
    // The build cache does not pass for a repository of the package that is checked in it.
    space.dev("cargo package --quiet --offline --allow-dirty --package inner");
    // A thorough cleaning leaves what is not of the checkout, and cargo goes on.
    space.dev("git add --all && git commit --quiet --message two && git clean -fdx && cargo build --offline");
    assert_eq!(space.dev("cargo build --offline 2>&1 | grep -c Compiling || true"), "0\n");
    let (cache, before) = promote(&space);
    space.assert_base_unchanged();

    let next = Space::new(&user, &repository, "rust", "o-warm");
    assert_eq!(
        next.dev(&format!("{FAR} sed -i s/one/six/ inner/src/lib.rs && {run}")),
        "six 7 Err(CrossesDevices)\n"
    );
    next.dev("rm -r data && mkdir data");
    assert_eq!(next.dev(run), "six 7 Ok(())\n");
    next.dev(
        "cargo clean --quiet && cargo build --quiet --offline && cargo test --quiet --offline",
    );
    next.assert_base_unchanged();
    assert_eq!(digest(&cache), before, "the cache has changed");
}

#[test]
fn npm_installs_and_replaces_what_is_installed() {
    // Two versions of a package with another one in it, one of which has more files.
    const PACK: &str = "mkdir -p ~/p/lib && cd ~/p && for v in 1 2; do \
        echo \"{\\\"name\\\":\\\"p\\\",\\\"version\\\":\\\"$v.0.0\\\"}\" > package.json && \
        echo \"module.exports = $v\" > index.js && touch lib/$v.js && npm pack --silent && \
        mv p-$v.0.0.tgz ~; done; cd /workspace; ";
    const INSTALL: &str = "npm install --offline --silent --no-audit --no-fund";
    let user = User::new();
    let repository = Repository::new(&user, "app");
    repository.commit(".gitignore", "node_modules\n");
    repository.commit("local/package.json", "{\"name\":\"local\",\"version\":\"1.0.0\"}\n");
    repository.commit("local/index.js", "module.exports = 'local'\n");
    repository.commit("package.json", "{\"name\":\"app\",\"version\":\"1.0.0\"}\n");
    let space = Space::new(&user, &repository, "node", "o-npm");
    space.dev(&format!("{PACK} {INSTALL} ~/p-1.0.0.tgz ./local"));
    let versions = "node -p \"[require('p'), require('local')].join()\"";
    assert_eq!(space.agent("ls node_modules"), "local\np\n");
    assert_eq!(space.dev(versions), "1,local\n");
    assert_eq!(space.dev(&format!("{INSTALL} ~/p-2.0.0.tgz && {versions}")), "2,local\n");
    assert_eq!(space.dev(&format!("npm ci --offline --silent && {versions}")), "2,local\n");
    space.dev(&format!("git stash --quiet && git clean -fdxq && {INSTALL} ~/p-1.0.0.tgz ./local"));
    let (cache, before) = promote(&space);
    space.assert_base_unchanged();

    // What is installed is now in a lower layer, where npm cannot rename its directories.
    let next = Space::new(&user, &repository, "node", "o-npm-2");
    next.dev(&format!("{PACK} cp /workspace/node_modules/.package-lock.json /tmp"));
    assert_eq!(next.dev(versions), "1,local\n");
    assert_eq!(next.dev(&format!("{INSTALL} ~/p-2.0.0.tgz ./local && {versions}")), "2,local\n");
    assert_eq!(
        next.dev("ls -A node_modules node_modules/p/lib"),
        "node_modules:\n.package-lock.json\nlocal\np\n\nnode_modules/p/lib:\n1.js\n2.js\n"
    );
    next.dev("npm uninstall --offline --silent p && ! test -e node_modules/p");
    next.dev(&format!(
        "npm ci --offline --silent && rm -rf node_modules && {INSTALL} ~/p-1.0.0.tgz"
    ));
    next.assert_base_unchanged();
    assert_eq!(digest(&cache), before, "the cache has changed");
}

#[test]
fn pip_installs_and_replaces_what_is_installed() {
    // Two versions of a package, as wheels that need no build.
    const WHEEL: &str = r#"
import sys, zipfile
for version in ["1.0", "2.0"]:
    with zipfile.ZipFile(f"/home/developer/p-{version}-py3-none-any.whl", "w") as wheel:
        info = f"p-{version}.dist-info"
        files = {"p/__init__.py": f"version = {version}\n", f"p/sub/of_{version[0]}.py": "",
                 f"{info}/METADATA": f"Metadata-Version: 2.1\nName: p\nVersion: {version}\n",
                 f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"}
        for name, text in files.items(): wheel.writestr(name, text)
        record = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
        wheel.writestr(f"{info}/RECORD", record)
"#;
    let user = User::new();
    let repository = Repository::new(&user, "app");
    repository.commit(".gitignore", ".venv\n");
    let space = Space::new(&user, &repository, "python", "o-pip");
    space.python(WHEEL);
    let install = |version: &str| {
        format!(".venv/bin/pip install --quiet --no-index ~/p-{version}-py3-none-any.whl")
    };
    let version =
        ".venv/bin/python -c 'import p, os; print(p.version, sorted(os.listdir(p.__path__[0])))'";
    let (one, two) = ("1.0 ['__init__.py', 'sub']\n", "2.0 ['__init__.py', 'sub']\n");
    assert_eq!(
        space.dev(&format!("python3 -m venv .venv && {} && {version}", install("1.0"))),
        one
    );
    assert_eq!(space.dev(&format!("{} && {version}", install("2.0"))), two);
    assert_eq!(space.dev(&format!("{} && {version}", install("1.0"))), one);
    let (cache, before) = promote(&space);
    space.assert_base_unchanged();

    let next = Space::new(&user, &repository, "python", "o-pip-2");
    next.python(WHEEL);
    assert_eq!(next.dev(version), one);
    assert_eq!(next.dev(&format!("{} && {version}", install("2.0"))), two);
    assert_eq!(next.dev("ls .venv/lib/*/site-packages/p/sub"), "of_2.py\n");
    next.dev(".venv/bin/pip uninstall --quiet --yes p && ! test -e .venv/lib/*/site-packages/p");
    next.dev(&format!("python3 -m venv --clear .venv && {}", install("1.0")));
    assert_eq!(next.dev(version), one);
    next.assert_base_unchanged();
    assert_eq!(digest(&cache), before, "the cache has changed");
}

#[test]
fn go_builds_and_tells_what_cannot_be_renamed() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    repository.commit("go.mod", "module example.org/app\n\ngo 1.20\n");
    repository.commit("inner/inner.go", "package inner\n\nconst Text = \"one\"\n");
    repository.commit("data/in", "x\n");
    let main = "package main\n\nimport (\n\t\"errors\"\n\t\"example.org/app/inner\"\n\t\"fmt\"\n\t\"os\"\n\
                \t\"syscall\"\n)\n\nfunc main() {\n\terr := os.Rename(\"data\", \"data-2\")\n\
                \tfmt.Println(inner.Text, errors.Is(err, syscall.EXDEV))\n}\n";
    repository.commit("main.go", main);
    let space = Space::new(&user, &repository, "go", "o-go");
    assert_eq!(space.dev("go build -o app . && ./app"), "one true\n");
    assert_eq!(
        space.dev("sed -i s/one/two/ inner/inner.go && go vet ./... && go run ."),
        "two true\n"
    );
    space.assert_base_unchanged();
}
