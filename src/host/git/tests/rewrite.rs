//! `url.*.insteadOf`, remote helpers, and what git's settings forbid.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::model::GitEnvironment;

/// Adds settings of the user.
fn configure(world: &World, text: &str) {
    let config = world.path("gitconfig");
    let before = fs::read_to_string(&config).unwrap();
    fs::write(config, before + text).unwrap();
}

#[tokio::test]
async fn remote_urls_are_those_that_git_uses() {
    let world = World::new();
    configure(
        &world,
        "[url \"https://example.org/Team/\"]\n\tinsteadOf = work/\n\tinsteadOf = w:\n\
         [url \"ssh://git@example.org/Team/\"]\n\tpushInsteadOf = work/\n\
         [url \"https://me:secret@private.example.org/\"]\n\tinsteadOf = https://private.example.org/\n\
         [url \"https://special.example.org/\"]\n\tinsteadOf = work/special/\n\
         [url \"git@push.example.org:\"]\n\tpushInsteadOf = https://push.example.org/\n\
         [url \"ssh://a/\"]\n\tinsteadOf = same:\n[url \"ssh://b/\"]\n\tinsteadOf = same:\n\
         [includeIf \"hasconfig:remote.*.url:cond:**\"]\n\tpath = more\n",
    );
    fs::write(world.path("more"), "[url \"https://cond.example.org/\"]\n\tinsteadOf = cond:\n")
        .unwrap();
    let dir = world.init("repository", &[]);
    for url in [
        "work/app",
        "w:app",
        "work/special/app",
        "https://private.example.org/app",
        "https://push.example.org/app",
        "https://other.example.org/app",
        "same:app",
        "cond:app",
    ] {
        world.run(&dir, &["config", "remote.origin.url", url]);
        let hidden = |url: String| url.replace("me:secret@", "");
        let fetch = hidden(world.run(&dir, &["remote", "get-url", "origin"]));
        let push = hidden(world.run(&dir, &["remote", "get-url", "--push", "origin"]));
        let found = world.git.remote_urls(&Source::parse(url).unwrap()).await;
        assert_eq!(found.push.as_ref().unwrap_or(&found.fetch), &push, "{url}");
        assert_eq!(found.fetch, fetch, "{url}");
    }
}

#[tokio::test]
async fn a_shorthand_without_a_colon_is_fetched() {
    let world = World::new();
    let dir = world.repository("srv/app");
    let commit = world.run(&dir, &["rev-parse", "HEAD"]);
    let source = Source::parse("work/app").unwrap();
    let error = world.git.locate(&source).await.unwrap_err();
    assert!(error.to_string().contains("no url.*.insteadOf has it"), "{error}");
    let base = format!("file://{}/srv/", world.root.path().display());
    configure(&world, &format!("[url \"{base}\"]\n\tinsteadOf = work/\n"));
    assert_eq!(world.git.locate(&source).await.unwrap(), source);
    world.fetch(&source).await.unwrap();
    assert_eq!(world.resolve(&source, "main").await.unwrap(), commit);
    let urls = world.git.remote_urls(&source).await;
    assert_eq!(urls, RemoteUrls { fetch: format!("{base}app"), push: None });
}

#[tokio::test]
async fn remote_helpers_run_as_far_as_git_allows_them() {
    let mut world = World::new();
    let dir = world.repository("srv/app");
    let commit = world.run(&dir, &["rev-parse", "HEAD"]);
    // A helper that only connects: git-remote-foo for foo::PATH.
    let bin = world.path("bin");
    fs::create_dir(&bin).unwrap();
    let program = bin.join("git-remote-foo");
    let text = "#!/bin/sh\nwhile read -r line; do case $line in\n\
        capabilities) printf 'connect\\n\\n' ;;\n\
        connect*) printf '\\n'; exec ${line#connect } \"$2\" ;;\nesac; done\n";
    fs::write(&program, text).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let source = Source::parse(&format!("foo::{}", dir.display())).unwrap();

    let told = async |world: &World, source: &Source| {
        let error = world.fetch(source).await.unwrap_err();
        format!("{error}\n{}", error.hint().unwrap_or_default())
    };
    let lacking = told(&world, &source).await;
    assert!(lacking.contains("install it, and have it on your PATH"), "{lacking}");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let environment = GitEnvironment::new([("PATH".to_owned(), path)]);
    world.git = Git { variables: world.git.variables.clone(), ..Git::new(environment) };
    world.fetch(&source).await.unwrap();
    assert_eq!(world.resolve(&source, "main").await.unwrap(), commit);
    configure(&world, "[protocol \"foo\"]\n\tallow = never\n");
    let forbidden = told(&world, &source).await;
    assert!(forbidden.contains("transport 'foo' not allowed"), "{forbidden}");
    assert!(forbidden.contains("protocol.NAME.allow"), "{forbidden}");

    // `ext::` runs any command: git refuses it unless the user has allowed it.
    let marker = world.path("marker");
    let source = Source::parse(&format!("ext::touch {}", marker.display())).unwrap();
    let forbidden = told(&world, &source).await;
    assert!(forbidden.contains("transport 'ext' not allowed"), "{forbidden}");
    assert!(!marker.exists());
    configure(&world, "[protocol \"ext\"]\n\tallow = always\n");
    let source = Source::parse(&format!("ext::git %s {}", dir.display())).unwrap();
    world.fetch(&source).await.unwrap();
    assert_eq!(world.resolve(&source, "HEAD").await.unwrap(), commit);
    // No shell reads it.
    let text = format!("ext::git %s {}; touch {}", dir.display(), marker.display());
    world.fetch(&Source::parse(&text).unwrap()).await.unwrap_err();
    assert!(!marker.exists());
    assert_eq!(world.left_in_cache().len(), 2);
}
