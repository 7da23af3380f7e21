use super::*;

/// A repository with a submodule that has one itself, and some of other kinds.
struct Family {
    world: World,
    app: PathBuf,
    lib: PathBuf,
    source: Source,
}

impl Family {
    fn new() -> Self {
        let world = World::new();
        let inner = world.init("inner", &[]);
        world.commit(&inner, "inner.txt", "inner");
        let lib = world.init("lib", &[]);
        world.commit(&lib, "lib.txt", "lib one");
        world.commit(&lib, "same.txt", "the same");
        add(&world, &lib, &["../inner", "deep/inner"]);
        world.run(&lib, &["commit", "--quiet", "-m", "with a submodule"]);
        let app = world.repository("app");
        add(&world, &app, &["--name", "the/lib \"1\"", "../lib", "vendor/my lib"]);
        add(&world, &app, &["../inner", "none"]);
        world.run(&app, &["config", "-f", ".gitmodules", "submodule.none.update", "none"]);
        world.run(&app, &["add", ".gitmodules"]);
        world.run(&app, &["commit", "--quiet", "-m", "submodules"]);
        Self { source: world.source(&app), world, app, lib }
    }

    /// Fetches all, and makes a base of what is checked out.
    async fn base(&self, name: &str, sibling: Option<&Sibling>) -> (PathBuf, String) {
        let commit = self.fetch(&self.world.git).await.unwrap();
        let base = self.world.path(name);
        fs::create_dir(&base).unwrap();
        self.world.make_base(&self.source, &commit, &base, sibling).await.unwrap();
        (base, commit)
    }

    async fn fetch(&self, git: &Git) -> Result<String, GitError> {
        let (mirror, mirrors) = (self.world.mirror(&self.source), self.world.path("cache/mirrors"));
        git.update_mirror(&self.source, &mirror, |_| {}).await?;
        let commit = git.resolve(&self.source, &mirror, None).await?;
        git.fetch_contents(&self.source, &mirrors, &commit, |_| {}).await?;
        Ok(commit)
    }

    /// Returns what a base of what is checked out has.
    async fn contents(&self) -> Contents {
        let mirrors = self.world.path("cache/mirrors");
        let commit = self.world.run(&self.app, &["rev-parse", "HEAD"]);
        self.world.git.fetch_contents(&self.source, &mirrors, &commit, |_| {}).await.unwrap()
    }
}

/// Runs `git submodule add`; with a path as URL as users may, and git forbids by default.
fn add(world: &World, dir: &Path, arguments: &[&str]) {
    let add = ["-c", "protocol.file.allow=always", "submodule", "--quiet", "add"];
    world.run(dir, &[&add, arguments].concat());
}

/// What a checkout is, as far as git is concerned.
fn seen(world: &World, dir: &Path) -> String {
    let each = "echo \"$name $toplevel $sm_path\" | sed \"s|$0||\"; git rev-parse HEAD; \
                git status --porcelain; git config remote.origin.url; git config core.worktree; \
                cat .git; git ls-files --stage";
    let root = fs::canonicalize(dir).unwrap();
    let each = each.replace("$0", root.to_str().unwrap());
    [
        world.run(dir, &["status", "--porcelain"]),
        world.run(dir, &["submodule", "status", "--recursive"]),
        world.run(dir, &["submodule", "--quiet", "foreach", "--recursive", &each]),
        world.run(dir, &["config", "--get-regexp", "submodule\\..*"]),
    ]
    .join("\n--\n")
}

#[tokio::test]
async fn a_base_is_what_a_recursive_clone_is() {
    let family = Family::new();
    let world = &family.world;
    let (base, commit) = family.base("base", None).await;
    let clone = world.path("clone");
    let url = family.app.to_str().unwrap();
    let arguments = ["clone", "--quiet", "--recurse-submodules", url, clone.to_str().unwrap()];
    world.run(&family.app, &[&["-c", "protocol.file.allow=always"], &arguments[..]].concat());
    assert_eq!(world.run(&clone, &["rev-parse", "HEAD"]), commit);
    // A clone notes that all are wanted, and the one that it must not check out; that says nothing.
    // Nor does the branch that it makes in each of them, and by which it describes the commit.
    world.run(&clone, &["config", "--unset", "submodule.active"]);
    let noted = |dir: &Path| {
        let found = seen(world, dir);
        let lines = found
            .lines()
            .filter(|line| !line.starts_with("submodule.none.") && !line.ends_with(".active true"));
        let lines = lines.map(|line| line.split(" (").next().unwrap_or(line));
        lines.collect::<Vec<_>>().join("\n")
    };
    assert_eq!(noted(&base), noted(&clone));
    assert!(seen(world, &base).contains("vendor/my lib/deep/inner"), "{}", seen(world, &base));
    assert!(base.join("none").is_dir() && !base.join("none/inner.txt").exists());

    // It needs nothing outside of itself, wherever it is, and git goes on with it.
    fs::remove_dir_all(world.path("cache")).unwrap();
    let moved = world.path("moved");
    fs::rename(&base, &moved).unwrap();
    for dir in ["", "vendor/my lib", "vendor/my lib/deep/inner"] {
        world.run(&moved.join(dir), &["fsck", "--strict"]);
        assert_eq!(world.run(&moved.join(dir), &["status", "--porcelain"]), "");
    }
    let newer = world.commit(&family.lib, "lib.txt", "lib two");
    world.run(&moved.join("vendor/my lib"), &["fetch", "--quiet"]);
    world.run(&moved.join("vendor/my lib"), &["checkout", "--quiet", &newer]);
    world.run(&moved, &["submodule", "--quiet", "update", "--force"]);
    assert_eq!(world.run(&moved, &["status", "--porcelain"]), "");
}

#[tokio::test]
async fn submodules_share_files_too_and_their_commits_are_fetched_when_they_are_new() {
    let family = Family::new();
    let world = &family.world;
    let (first, old) = family.base("first", None).await;
    // What is in the mirrors is not asked for again.
    fs::rename(&family.lib, world.path("away")).unwrap();
    assert_eq!(family.fetch(&world.git).await.unwrap(), old);
    family.fetch(&world.git.clone().offline(true)).await.unwrap();
    fs::rename(world.path("away"), &family.lib).unwrap();

    let newer = world.commit(&family.lib, "lib.txt", "lib two");
    let inside = family.app.join("vendor/my lib");
    world.run(&inside, &["fetch", "--quiet"]);
    world.run(&inside, &["checkout", "--quiet", &newer]);
    world.commit(&family.app, "more", "a newer lib");
    let sibling = Sibling::new(first.clone(), old);
    let (second, _) = family.base("second", Some(&sibling)).await;
    let (fresh, _) = family.base("fresh", None).await;
    assert_eq!(seen(world, &second), seen(world, &fresh));
    let inode = |dir: &Path, file: &str| {
        std::os::unix::fs::MetadataExt::ino(&fs::metadata(dir.join(file)).unwrap())
    };
    for (file, shared) in [
        ("Cargo.toml", true),
        ("vendor/my lib/same.txt", true),
        ("vendor/my lib/deep/inner/inner.txt", true),
        ("vendor/my lib/lib.txt", false),
    ] {
        assert_eq!(inode(&first, file) == inode(&second, file), shared, "{file}");
    }
    assert_eq!(fs::read_to_string(first.join("vendor/my lib/lib.txt")).unwrap(), "lib one");
    assert_eq!(world.run(&first, &["status", "--porcelain"]), "");
}

#[tokio::test]
async fn a_submodule_comes_from_the_local_clone_or_is_left_out_with_a_warning() {
    let family = Family::new();
    let world = &family.world;
    world.run(&family.app, &["config", "--unset-all", "submodule.the/lib \"1\".url"]);
    let gone = world.path("gone");
    fs::rename(&family.lib, &gone).unwrap();
    // What the local repository has of it will do.
    let clone = family.app.join(".git/modules/the/lib \"1\"");
    let aside = world.path("aside");
    fs::rename(&clone, &aside).unwrap();
    let away = family.app.join("vendor/my lib/.git");
    fs::rename(&away, world.path("link")).unwrap();
    let (base, _) = family.base("empty", None).await;
    assert_eq!(fs::read_dir(base.join("vendor/my lib")).unwrap().count(), 0);
    assert_eq!(world.run(&base, &["status", "--porcelain"]), "");
    let warning = family.contents().await.submodules[1].warning().unwrap();
    assert!(
        warning.starts_with("the submodule 'vendor/my lib' is empty: the repository "),
        "{warning}"
    );
    assert!(warning.contains("git submodule update --init --recursive -- 'vendor/my lib'"));
    fs::rename(world.path("link"), &away).unwrap();
    fs::rename(&aside, &clone).unwrap();
    let (base, _) = family.base("base", None).await;
    assert!(base.join("vendor/my lib/deep/inner/inner.txt").exists());
    let url = world.run(&base.join("vendor/my lib"), &["config", "remote.origin.url"]);
    assert_eq!(url, family.lib.to_str().unwrap(), "the URL is the real one");

    // So will a commit that was never published.
    fs::rename(&gone, &family.lib).unwrap();
    let unpublished = world.commit(&family.app.join("vendor/my lib"), "new", "unpublished");
    world.commit(&family.app, "more", "more");
    let (base, _) = family.base("unpublished", None).await;
    assert_eq!(world.run(&base.join("vendor/my lib"), &["rev-parse", "HEAD"]), unpublished);

    // A commit that nobody has.
    let nothing = format!("160000,{},vendor/my lib", "1".repeat(40));
    world.run(&family.app, &["update-index", "--cacheinfo", &nothing]);
    world.run(&family.app, &["commit", "--quiet", "-m", "nobody has it"]);
    family.fetch(&world.git).await.unwrap();
    let lacking = family.contents().await.submodules[1].lacking.clone().unwrap();
    assert!(lacking.contains(&"1".repeat(40)), "{lacking}");
}

#[tokio::test]
async fn what_a_repository_says_of_its_submodules_is_not_trusted() {
    let world = World::new();
    let victim = world.repository("victim");
    let commit = world.run(&victim, &["rev-parse", "HEAD"]);
    let marker = world.path("marker");
    let dir = world.init("app", &[]);
    world.commit(&dir, "file", "file");
    let source = world.source(&dir);
    let check = async |path: &str, name: &str, url: &str| {
        let text = format!("[submodule \"{name}\"]\n\tpath = {path}\n\turl = \"{url}\"\n");
        fs::write(dir.join(".gitmodules"), text).unwrap();
        world.run(&dir, &["add", ".gitmodules"]);
        let entry = format!("160000,{commit},{path}");
        world.run(&dir, &["update-index", "--add", "--cacheinfo", &entry]);
        world.run(&dir, &["commit", "--quiet", "-m", "x"]);
        let mirror = world.fetch(&source).await.unwrap();
        let commit = world.resolve(&source, "HEAD").await.unwrap();
        let mirrors = mirror.parent().unwrap();
        // The same commit, as if it were from elsewhere.
        let far = Source::parse("https://example.org/app").unwrap();
        let elsewhere = mirror_path(mirrors, &far);
        if elsewhere.exists() {
            fs::remove_dir_all(&elsewhere).unwrap();
        }
        let from = mirror.to_str().unwrap();
        world.run(&dir, &["clone", "--quiet", "--mirror", from, elsewhere.to_str().unwrap()]);
        world.git.fetch_contents(&far, mirrors, &commit, |_| {}).await
    };
    let touch = format!("ext::touch {}", marker.display());
    let victim = victim.to_str().unwrap();
    let file = format!("file://{victim}");
    for (path, name, url) in [
        ("sub", "sub", touch.as_str()),
        ("sub", "sub", victim),
        ("sub", "sub", &file),
        ("sub", "../../hooks", "https://127.0.0.1:9/x"),
        ("-sub", "sub", "https://127.0.0.1:9/x"),
        ("sub", "-sub", "https://127.0.0.1:9/x"),
        ("sub", "sub", "--upload-pack=id"),
        ("sub", "sub", "../../../x"),
    ] {
        let contents = check(path, name, url).await.unwrap();
        assert!(contents.mirrors.is_empty());
        match contents.submodules.iter().find(|found| found.path == path) {
            Some(found) => {
                let lacking = found.lacking.clone();
                assert!(lacking.is_some_and(|it| it.contains("names no repository")), "{url}");
            }
            None => {
                let told = contents.warnings.join("\n");
                let reason = ["could lead elsewhere", "does not name them"];
                assert!(reason.iter().any(|it| told.contains(it)), "{path} {name}: {told}");
            }
        }
    }
    assert!(!marker.exists());
}

#[tokio::test]
async fn a_gitmodules_that_git_refuses_leaves_submodules_empty() {
    let world = World::new();
    let lib = world.repository("lib");
    let commit = world.run(&lib, &["rev-parse", "HEAD"]);
    let dir = world.init("app", &[]);
    world.commit(&dir, "file", "file");
    for path in ["lib", "other"] {
        let entry = format!("160000,{commit},{path}");
        world.run(&dir, &["update-index", "--add", "--cacheinfo", &entry]);
    }
    let source = world.source(&dir);
    let good = "[submodule \"other\"]\n\tpath = other\n\turl = ../lib\n";
    for (number, (text, warning)) in [
        ("[submodule \"lib\"\n\tpath = lib\n".to_owned(), "cannot be read (bad config line "),
        (format!("{good}[submodule \"lib\"]\n\turl = ../lib\n"), "does not name them: lib"),
        (format!("{good}[submodule \"lib\"]\n\tpath\n\turl = ../lib\n"), "not name them: lib"),
        (
            format!("{good}[submodule \"../x\"]\n\tpath = lib\n\turl = ../lib\n"),
            "gives them names that could lead elsewhere: lib",
        ),
        (
            format!("{good}[submodule \"lib\"]\n\tpath = ../../lib\n\turl = ../lib\n"),
            "does not name them: lib",
        ),
        (format!("{good}[submodule \"lib\"]\n\tpath = lib\n"), "the submodule lib is empty: "),
        (good.replace("other", "lib") + "[other] x = [\n", "does not name them: other"),
    ]
    .into_iter()
    .enumerate()
    {
        fs::write(dir.join(".gitmodules"), &text).unwrap();
        world.run(&dir, &["add", ".gitmodules"]);
        world.run(&dir, &["commit", "--quiet", "-m", "x"]);
        let mirror = world.fetch(&source).await.unwrap();
        let commit = world.resolve(&source, "HEAD").await.unwrap();
        let mirrors = mirror.parent().unwrap();
        let found = world.git.fetch_contents(&source, mirrors, &commit, |_| {}).await.unwrap();
        let base = world.path(&format!("base-{number}"));
        fs::create_dir(&base).unwrap();
        let lacks = world.make_base(&source, &commit, &base, None).await.unwrap();
        let told = [found.warnings, lacks.into_iter().collect()].concat().join("\n");
        assert!(told.contains(warning), "no {warning:?} for {text}: {told}");
        assert_eq!(fs::read_to_string(base.join("file")).unwrap(), "file");
        let is_there = |path: &str| base.join(path).join("Cargo.toml").exists();
        assert_eq!(is_there("other"), text.contains("= other\n"), "{text}");
    }
    assert!(!world.path("x").exists());
}

#[tokio::test]
async fn a_sibling_with_a_link_in_a_submodules_place_is_not_followed() {
    let family = Family::new();
    let world = &family.world;
    let (first, old) = family.base("first", None).await;
    // The checkout of the submodule, reached by a link: it could be any directory of the user's.
    fs::rename(first.join("vendor"), world.path("outside")).unwrap();
    std::os::unix::fs::symlink(world.path("outside"), first.join("vendor")).unwrap();
    fs::write(world.path("outside/my lib/same.txt"), "not same").unwrap();
    let (second, _) = family.base("second", Some(&Sibling::new(first, old))).await;
    let found = fs::read_to_string(second.join("vendor/my lib/same.txt")).unwrap();
    assert_eq!(found, "the same");
    assert_eq!(world.run(&second, &["status", "--porcelain"]), "");
}

#[tokio::test]
async fn commits_in_submodules_have_an_author_as_well() {
    let family = Family::new();
    let world = &family.world;
    let (base, commit) = family.base("base", None).await;
    let upper = world.path("upper");
    fs::create_dir(&upper).unwrap();
    let seed = SeedSpec {
        branch: "taskspace/x".to_owned(),
        commit,
        origin_url: "https://example.org/app".to_owned(),
        push_url: None,
        commits: CommitSettings {
            author: Some(Identity { name: "Grace".into(), email: "grace@example.org".into() }),
            ..CommitSettings::default()
        },
    };
    world.git.seed_upper(&base, &upper, seed).await.unwrap();
    let merged = Command::new("cp").arg("-a").arg(upper.join(".")).arg(&base).status().unwrap();
    assert!(merged.success());
    for dir in ["", "vendor/my lib", "vendor/my lib/deep/inner"] {
        let config = |key: &str| world.run(&base.join(dir), &["config", "--local", key]);
        assert_eq!(config("user.email"), "grace@example.org");
    }
    assert!(world.run(&base, &["submodule", "status"]).contains(" vendor/my lib"));
    assert_eq!(world.run(&base, &["status", "--porcelain"]), "");
}
