use std::collections::BTreeSet;

use super::*;

fn set(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

#[tokio::test]
async fn a_commit_is_kept_where_a_ref_leads_to_it() {
    let world = World::new();
    let dir = world.repository("app");
    let known = world.run(&dir, &["rev-parse", "HEAD~1"]);
    let other = world.commit(&dir, "more", "more");
    world.run(&dir, &["reset", "--quiet", "--hard", "HEAD~1"]);
    let missing = "1".repeat(40);
    let asked = [known.as_str(), &other, &missing, "HEAD", "--all"];
    let kept = world.git.kept_commits(&dir, &asked).await.unwrap();
    assert_eq!(kept, set(&[&known]), "what no ref leads to is not kept");
    world.run(&dir, &["branch", "fetched", &other]);
    let kept = world.git.kept_commits(&dir, &asked).await.unwrap();
    assert_eq!(kept, set(&[&known, &other]));
    assert!(world.git.kept_commits(&dir, &[]).await.unwrap().is_empty());
    assert!(world.git.kept_commits(&world.path("nowhere"), &asked).await.is_err());
}

#[tokio::test]
async fn repositories_are_asked_for_what_there_is() {
    let world = World::new();
    let dir = world.repository("app");
    let git = &world.git;
    assert_eq!(git.repository_of(&dir.join("src")).await.unwrap(), dir);
    assert!(git.repository_of(world.root.path()).await.is_err());
    let head = world.run(&dir, &["rev-parse", "HEAD"]);
    let branches = git.refs(&dir, "refs/heads/main").await.unwrap();
    assert_eq!(
        branches.into_iter().collect::<Vec<_>>(),
        [("refs/heads/main".to_owned(), head.clone())]
    );
    let first = world.run(&dir, &["rev-parse", "v1.0^{commit}"]);
    assert_eq!(git.count_commits(&dir, &[&head], &[]).await.unwrap(), 2);
    let missing = "1".repeat(40);
    assert_eq!(git.count_commits(&dir, &[&head], &[&first, &missing]).await.unwrap(), 1);
    for (name, is_one) in
        [("a/b", true), ("a b", false), ("-x", false), ("HEAD", false), ("a..b", false)]
    {
        assert_eq!(git.is_branch_name(name).await, is_one, "{name}");
    }
    assert!(!git.has_remote(&dir, "fix").await);
    world.run(&dir, &["remote", "add", "fix", "/nowhere"]);
    assert!(git.has_remote(&dir, "fix").await);
}
