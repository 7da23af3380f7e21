//! Submodules as a clone on this host is configured to have them.

use super::*;
use crate::model::SubmoduleSpec;

/// A library beside an application, in a directory from which both are cloned.
struct Server {
    world: World,
    lib: PathBuf,
    app: PathBuf,
}

impl Server {
    fn new() -> Self {
        let world = World::new();
        let lib = world.init("make/lib.git", &[]);
        world.commit(&lib, "lib.txt", "lib");
        let app = world.init("make/app", &[]);
        add(&world, &app, &["--name", "the lib", "../lib.git", "vendor/lib"]);
        world.commit(&app, "app.txt", "app");
        let bare = |from: &Path, name: &str| {
            let to = world.path("srv").join(name);
            let (from, to_text) = (from.to_str().unwrap(), to.to_str().unwrap());
            world.run(world.root.path(), &["clone", "--quiet", "--bare", from, to_text]);
            to
        };
        let (lib, app) = (bare(&lib, "lib.git"), bare(&app, "app.git"));
        Self { world, lib, app }
    }

    /// Clones a repository, with these arguments.
    fn clone(&self, from: &str, name: &str, arguments: &[&str]) -> PathBuf {
        let to = self.world.path(name);
        let clone = ["-c", "protocol.file.allow=always", "clone", "--quiet"];
        let words = [&clone, arguments, &[from, to.to_str().unwrap()]].concat();
        self.world.run(self.world.root.path(), &words);
        to
    }

    fn url(&self) -> String {
        format!("file://{}", self.app.display())
    }

    /// Returns the only submodule of what a repository has checked out.
    async fn submodule(&self, dir: &Path) -> SubmoduleSpec {
        let source = self.world.source(dir);
        let mirror = self.world.fetch(&source).await.unwrap();
        let commit = self.world.resolve(&source, "HEAD").await.unwrap();
        let mirrors = mirror.parent().unwrap();
        let found = self.world.git.fetch_contents(&source, mirrors, &commit, |_| {}).await.unwrap();
        let [submodule] = found.submodules.as_slice() else { panic!("{found:?}") };
        submodule.clone()
    }

    /// Removes what was fetched.
    fn forget(&self) {
        fs::remove_dir_all(self.world.path("cache")).unwrap();
    }
}

fn add(world: &World, dir: &Path, arguments: &[&str]) {
    let add = ["-c", "protocol.file.allow=always", "submodule", "--quiet", "add"];
    world.run(dir, &[&add, arguments].concat());
}

#[tokio::test]
async fn relative_urls_lead_on_from_the_remote_of_a_clone() {
    let server = Server::new();
    let url = format!("file://{}", server.lib.display());
    // Never initialised; a clone of a clone; with a remote of another name; a bare repository.
    let clone = server.clone(&server.url(), "home/app", &[]);
    let second = server.clone(clone.to_str().unwrap(), "other/app", &[]);
    let named = server.clone(&server.url(), "named/app", &["--origin=upstream"]);
    for dir in [&clone, &second, &named] {
        let found = server.submodule(dir).await;
        assert_eq!((found.url.as_str(), found.lacking), (url.as_str(), None), "{}", dir.display());
        server.forget();
    }
    let found = server.submodule(&server.app).await;
    assert_eq!((found.source.as_str(), found.lacking), (server.lib.to_str().unwrap(), None));
}

#[tokio::test]
async fn configuration_of_a_bare_repository_counts_whether_git_may_discover_it_or_not() {
    let server = Server::new();
    let append = |path: &Path, text: &str| {
        let old = fs::read_to_string(path).unwrap();
        fs::write(path, old + text).unwrap();
    };
    append(&server.app.join("config"), "[submodule \"the lib\"]\n\tupdate = none\n");
    append(&server.world.path("gitconfig"), "[safe]\n\tbareRepository = explicit\n");
    assert_eq!(server.submodule(&server.app).await.update.as_deref(), Some("none"));
}

#[tokio::test]
async fn a_clones_configuration_decides_about_its_submodules() {
    let server = Server::new();
    let world = &server.world;
    let dir = server.clone(&server.url(), "home/app", &[]);
    let marker = world.path("marker");
    let command = format!("!touch {}", marker.display());
    let url = ("submodule.the lib.url", server.lib.to_str().unwrap());
    for (settings, is_there, update) in [
        (vec![("submodule.the lib.update", "none")], false, Some("none")),
        (vec![("submodule.the lib.active", "false"), url], false, None),
        (vec![("submodule.active", "other"), url], false, None),
        (vec![("submodule.active", "vendor/*"), ("submodule.active", ":!vendor/x")], true, None),
        (vec![("submodule.active", "other"), ("submodule.the lib.active", "true")], true, None),
        (vec![("submodule.the lib.update", "rebase")], true, Some("rebase")),
        (vec![("submodule.the lib.update", command.as_str())], true, None),
    ] {
        let config = fs::read(dir.join(".git/config")).unwrap();
        for (key, value) in &settings {
            world.run(&dir, &["config", "--add", key, value]);
        }
        let found = server.submodule(&dir).await;
        assert_eq!(found.is_checked_out(), is_there, "{settings:?}");
        assert_eq!((found.update.as_deref(), found.lacking), (update, None), "{settings:?}");
        fs::write(dir.join(".git/config"), config).unwrap();
    }
    assert!(!marker.exists(), "a command was run");

    // The clone's own URL is fetched from; a taskspace gets one that it can use, too.
    let moved = world.path("moved.git");
    fs::rename(&server.lib, &moved).unwrap();
    server.forget();
    assert!(server.submodule(&dir).await.lacking.is_some());
    world.run(&dir, &["config", "submodule.the lib.url", moved.to_str().unwrap()]);
    let found = server.submodule(&dir).await;
    assert_eq!((found.source.as_str(), found.lacking), (moved.to_str().unwrap(), None));
    world.run(&dir, &["config", "remote.origin.url", "ssh://git@host.example/group/app.git"]);
    let found = server.submodule(&dir).await;
    assert_eq!((found.url.as_str(), found.lacking), ("ssh://git@host.example/group/lib.git", None));
}

#[tokio::test]
async fn commits_come_from_wherever_a_clone_has_its_submodule() {
    let server = Server::new();
    let world = &server.world;
    let dir = server.clone(&server.url(), "home/app", &["--recurse-submodules"]);
    let inside = dir.join("vendor/lib");
    world.commit(&inside, "new", "unpublished");
    world.commit(&dir, "more", "a newer lib");
    fs::rename(&server.lib, world.path("gone.git")).unwrap();
    let check = async |dir: &Path| {
        let found = server.submodule(dir).await;
        assert_eq!(found.lacking, None);
        server.forget();
    };
    check(&dir).await;
    // A further work tree, whose submodule is only in the git directory that it shares.
    let beside = world.path("beside");
    world.run(&dir, &["worktree", "add", "--quiet", "--detach", beside.to_str().unwrap()]);
    check(&beside).await;
    // A git directory in the submodule's own place.
    let kept = dir.join(".git/modules/the lib");
    fs::remove_file(inside.join(".git")).unwrap();
    fs::rename(&kept, inside.join(".git")).unwrap();
    world.run(&inside.join(".git"), &["config", "--file", "config", "--unset", "core.worktree"]);
    check(&dir).await;
    // A link in its place is not followed.
    fs::rename(dir.join("vendor"), world.path("outside")).unwrap();
    std::os::unix::fs::symlink(world.path("outside"), dir.join("vendor")).unwrap();
    assert!(server.submodule(&dir).await.lacking.is_some());
}
