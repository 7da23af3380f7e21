//! The author and committer of commits: the identity inside is that of the directory outside.

use super::*;

/// Asks the user's git for an identity in a directory.
fn outside(world: &World, dir: &Path, variable: &str) -> String {
    let mut git = Command::new("git");
    git.arg("-C").arg(dir).args(["var", variable]);
    git.envs(world.git.variables.iter().map(|(name, value)| (name, value)));
    let text = String::from_utf8(git.output().unwrap().stdout).unwrap();
    text.rsplitn(3, ' ').nth(2).unwrap_or_default().to_owned()
}

/// Returns author and committer of a commit made in a repository with these settings alone.
fn inside(world: &World, settings: &CommitSettings) -> [String; 2] {
    let dir = tempfile::tempdir_in(world.root.path()).unwrap();
    let run = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.arg("-C").arg(dir.path()).args(arguments);
        let output = git.env("GIT_CONFIG_GLOBAL", "/dev/null").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    run(&["init", "--quiet"]);
    let config = dir.path().join(".git/config");
    let text = [fs::read(&config).unwrap(), super::super::identity::configuration(settings)];
    fs::write(&config, text.concat()).unwrap();
    run(&["commit", "--quiet", "--allow-empty", "--message=x"]);
    ["%an <%ae>", "%cn <%ce>"]
        .map(|format| run(&["log", "-1", &format!("--format={format}")]).trim_end().to_owned())
}

/// Checks that commits inside have the author and committer of commits in a directory outside.
async fn check(world: &World, dir: &Path, source: &Source, email: &str) {
    let expected =
        ["GIT_AUTHOR_IDENT", "GIT_COMMITTER_IDENT"].map(|variable| outside(world, dir, variable));
    assert!(expected[0].ends_with(&format!("<{email}>")), "{expected:?}");
    let settings = world.git.commit_settings(source).await;
    assert_eq!(inside(world, &settings), expected);
}

fn configure(world: &World, text: &str) {
    fs::write(world.path("gitconfig"), text).unwrap();
}

fn include(world: &World, condition: &str, email: &str) {
    let included = world.path("included");
    fs::write(&included, format!("[user]\n\temail = {email}\n")).unwrap();
    let own = r#"[user]
        name = "-X \"Y\" 'Z'; #\\"
        email = plain@example.org
    "#;
    configure(world, &format!("{own}[{condition}]\n\tpath = {}\n", included.display()));
}

#[tokio::test]
async fn commits_have_the_identity_of_the_source_directory() {
    let world = World::new();
    let dir = world.repository("work/app");
    let source = world.source(&dir);
    let root = fs::canonicalize(world.root.path()).unwrap();
    check(&world, &dir, &source, "ada@example.org").await;
    include(&world, "include", "included@example.org");
    check(&world, &dir, &source, "included@example.org").await;
    include(&world, &format!("includeIf \"gitdir:{}/work/\"", root.display()), "work@example.org");
    check(&world, &dir, &source, "work@example.org").await;
    include(&world, "includeIf \"onbranch:main\"", "branch@example.org");
    check(&world, &dir, &source, "branch@example.org").await;
    include(&world, "includeIf \"hasconfig:remote.*.url:https://h.example/**\"", "url@example.org");
    check(&world, &dir, &source, "plain@example.org").await;
    let remote = "https://h.example/a/app.git";
    world.run(&dir, &["remote", "add", "upstream", remote]);
    check(&world, &dir, &source, "url@example.org").await;
    // A repository elsewhere: as in a clone of it.
    check(&world, &dir, &Source::parse(remote).unwrap(), "url@example.org").await;
    let other = Source::parse("https://other.example/app").unwrap();
    let settings = world.git.commit_settings(&other).await;
    assert_eq!(settings.author.unwrap().email, "plain@example.org");

    world.run(&dir, &["config", "user.email", "own@example.org"]);
    check(&world, &dir, &source, "own@example.org").await;
    world.run(&dir, &["config", "committer.email", "committer@example.org"]);
    world.run(&dir, &["config", "author.name", "Author"]);
    check(&world, &dir, &source, "own@example.org").await;
    // A further work tree has settings of its own.
    let beside = world.path("beside");
    world.run(&dir, &["config", "extensions.worktreeConfig", "true"]);
    world.run(&dir, &["worktree", "add", "--quiet", "--detach", beside.to_str().unwrap()]);
    world.run(&beside, &["config", "--worktree", "user.email", "beside@example.org"]);
    check(&world, &beside, &world.source(&beside), "beside@example.org").await;
    check(&world, &dir, &source, "own@example.org").await;
}

#[tokio::test]
async fn the_callers_environment_names_the_author() {
    let mut world = World::new();
    let dir = world.repository("app");
    let source = world.source(&dir);
    world.git.variables.push(("GIT_AUTHOR_EMAIL", "author@example.org".to_owned()));
    world.git.variables.push(("GIT_AUTHOR_NAME", "Jürgen 李".to_owned()));
    check(&world, &dir, &source, "author@example.org").await;
    world.git.variables.truncate(2);
    configure(&world, "[user]\n\tname = Ada\n");
    world.git.variables.push(("EMAIL", "email@example.org".to_owned()));
    check(&world, &dir, &source, "email@example.org").await;
}

#[tokio::test]
async fn an_identity_that_git_cannot_tell_is_left_out() {
    let world = World::new();
    let dir = world.repository("app");
    let source = world.source(&dir);
    configure(&world, "[user]\n\tname = Ada\n\tuseConfigOnly = true\n");
    assert!(world.git.commit_settings(&source).await.is_empty());
    // Latin-1, which git makes UTF-8 of.
    fs::write(world.path("gitconfig"), b"[user]\n\tname = Jos\xe9\n\temail = j@x\n").unwrap();
    let settings = world.git.commit_settings(&source).await;
    assert_eq!(inside(&world, &settings)[0], "José <j@x>");
    // Signing is left to the user outside.
    configure(
        &world,
        "[user]\n\tname = A\n\temail = a@x\n\tsigningKey = 1\n[commit]\n\tgpgSign = 1\n",
    );
    let settings = world.git.commit_settings(&source).await;
    assert_eq!(inside(&world, &settings)[0], "A <a@x>");
}
